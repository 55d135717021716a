"""Flags of TensorFlow Serving that change what is answered."""

import http.client

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving_requests import fill, floats
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tfllm.errors import ConfigError, RepositoryError
from tfllm.server.config import ServerConfig
from tfllm.server.loading import session_threads
from tfllm.server.server import serve
from tfllm.server.session_graph import SessionThreads


@pytest.fixture(scope="module")
def flagged(models):
    """Return a server with all of them."""
    config = ServerConfig(
        enable_grpc_healthcheck_service=True,
        enable_serialization_as_tensor_content=True,
        rest_api_enable_cors_support=True,
    )
    with serve(models / "toy", port=0, rest_api_port=0, config=config) as server:
        yield server


def test_numbers_as_bytes(flagged):
    request = predict_pb2.PredictRequest(inputs={"x": floats(2, 4)})
    fill(request.model_spec, "toy")
    with grpc.insecure_channel(flagged.address) as channel:
        proto = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30).outputs["y"]
    assert proto.tensor_content == np.float32([101, 102]).tobytes() and not proto.float_val


@pytest.mark.parametrize("service", ["", "toy", "ModelService", "PredictionService"])
def test_health_by_the_names_of_services(flagged, service):
    with grpc.insecure_channel(flagged.address) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("method", ["OPTIONS", "GET"])
def test_pages_of_other_origins(flagged, method):
    connection = http.client.HTTPConnection("127.0.0.1", flagged.rest_api_port, timeout=30)
    connection.request(method, "/v1/models/toy")
    response = connection.getresponse()
    assert response.status == 200
    assert response.headers["Access-Control-Allow-Origin"] == "*"


def test_without_the_flags(server, rest):
    with grpc.insecure_channel(server.address) as channel, pytest.raises(grpc.RpcError) as caught:
        stub = health_pb2_grpc.HealthStub(channel)
        stub.Check(health_pb2.HealthCheckRequest(service="PredictionService"), timeout=30)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert rest("OPTIONS", "/v1/models/toy")[0] == 400


def test_tags(models):
    with pytest.raises(RepositoryError, match="gpu"):
        serve(models / "classic", port=0, config=ServerConfig(saved_model_tags="serve,gpu"))


def test_threads_of_sessions():
    assert session_threads(ServerConfig()) == SessionThreads(0, 0)
    assert session_threads(ServerConfig(tensorflow_session_parallelism=3)) == SessionThreads(3, 3)
    with pytest.raises(ConfigError, match="Received: 3, 0 and 2"):
        session_threads(ServerConfig(tensorflow_session_parallelism=3, tensorflow_intra_op_parallelism=2))
