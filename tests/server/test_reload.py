"""Models that come and go while a server runs, with real models."""

import shutil
import threading
import time

import grpc
import numpy as np
import pytest
from serving_requests import fill, refusal
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_service_pb2_grpc

from tfllm.client.client import Client
from tfllm.errors import CallError, RepositoryError
from tfllm.server.config import ServerConfig
from tfllm.server.server import serve

TEXT = """model_config_list {{
  config {{
    name: "toy" base_path: "{0}/toy" model_platform: "tensorflow" model_version_policy {{ all {{}} }}
    version_labels {{ key: "stable" value: 1 }} version_labels {{ key: "canary" value: 2 }}
  }}
  config {{ name: "classic" base_path: "{0}/classic" model_platform: "tensorflow" }}
}}
"""


@pytest.fixture
def config_file(models, tmp_path):
    file = tmp_path / "models.config"
    file.write_text(TEXT.format(models))
    return file


@pytest.fixture
def labelled(config_file):
    config = ServerConfig(allow_version_labels_for_unavailable_models=True)
    with serve(port=0, rest_api_port=0, model_config_file=config_file, config=config) as server:
        yield server


@pytest.fixture
def reload(labelled):
    with grpc.insecure_channel(labelled.address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)

        def ask(*configs):
            request = model_management_pb2.ReloadConfigRequest()
            request.config.model_config_list.SetInParent()
            for values in configs:
                labels = values.pop("labels", {})
                versions = values.pop("versions", ())
                config = request.config.model_config_list.config.add(**values)
                config.version_labels.update(labels)
                if versions:
                    config.model_version_policy.specific.versions.extend(versions)
            return stub.HandleReloadConfigRequest(request, timeout=60)

        yield ask


def toy(models, **values):
    return {"name": "toy", "base_path": f"{models}/toy", "model_platform": "tensorflow", **values}


def ask(address, **spec):
    with Client(address, model="toy", **spec) as client:
        return client.predict_arrays({"x": np.float32([2])})["y"].tolist()


def test_labels_name_versions(labelled):
    assert ask(labelled.address) == [101]
    assert ask(labelled.address, label="stable") == [2]
    assert ask(labelled.address, label="canary") == [101]
    with pytest.raises(CallError, match="Unrecognized servable version label: nope"):
        ask(labelled.address, label="nope")


def test_labels_at_the_start_need_the_flag(config_file):
    with pytest.raises(RepositoryError, match="Request to assign label to version [12] of model toy"):
        serve(port=0, model_config_file=config_file)


def test_a_reload_replaces_what_was_served(labelled, reload, models):
    response = reload(toy(models, versions=[1]))
    assert response.HasField("status") and response.status.error_code == 0
    assert labelled.models == {"toy": (1,), "classic": ()}
    assert ask(labelled.address) == [2]
    with pytest.raises(CallError, match="Unrecognized servable version label: canary"):
        ask(labelled.address, label="canary")
    with pytest.raises(CallError, match=r"Servable not found for request: Specific\(toy, 2\)"):
        ask(labelled.address, version=2)
    time.sleep(0.5)
    with grpc.insecure_channel(labelled.address) as channel:
        request = get_model_status_pb2.GetModelStatusRequest()
        fill(request.model_spec, model="toy")
        rows = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request).model_version_status
    assert [(item.version, item.state) for item in rows] == [(2, 50), (1, 30)]
    reload(toy(models, versions=[1, 2]))
    assert ask(labelled.address) == [101]


def test_refused_reloads_change_nothing(labelled, reload, models):
    for configs, code, message in [
        (
            [toy(models, labels={"stable": 9})],
            "FAILED_PRECONDITION",
            "Request to assign label to version 9 of model toy, which is not currently available for inference",
        ),
        (
            [toy(models, base_path="toy")],
            "INVALID_ARGUMENT",
            "Expected model toy to have an absolute path or URI; got base_path()=toy",
        ),
        (
            [toy(models, model_platform="")],
            "INVALID_ARGUMENT",
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is toy",
        ),
        (
            [toy(models), toy(models)],
            "INVALID_ARGUMENT",
            "Illegal to list model toy multiple times in config list",
        ),
        ([toy(models, base_path="/nowhere")], "NOT_FOUND", "Could not find base path /nowhere for servable toy"),
    ]:
        assert refusal(reload, *configs) == (code, message)
    assert labelled.models == {"toy": (1, 2), "classic": (7,)}
    assert ask(labelled.address, label="stable") == [2]


def test_a_reload_with_a_version_that_cannot_be_loaded(labelled, reload, models, tmp_path):
    shutil.copytree(models / "toy/1", tmp_path / "toy/1")
    broken = tmp_path / "toy/2"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"this is no model")
    code, message = refusal(reload, toy(models), toy(models, name="new", base_path=str(tmp_path / "toy")))
    assert code == "UNKNOWN"
    assert message.startswith("1 servable(s) did not become available: {{name: new version: 2} due to error: ")
    assert labelled.models == {"toy": (2,), "classic": (), "new": ()}


def test_a_reload_without_a_list(labelled):
    with grpc.insecure_channel(labelled.address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        assert refusal(stub.HandleReloadConfigRequest, model_management_pb2.ReloadConfigRequest()) == (
            "INVALID_ARGUMENT",
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported",
        )


def wait_for(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def swap_versions(models, folder, server, client, answers):
    """Publish a version that is broken, then a good one; wait until it answers."""
    broken = folder / "toy/3"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"this is no model")
    wait_for(lambda: any(row.version == 3 and row.state == "END" for row in client.status()))
    assert server.models == {"toy": (1,)}
    assert next(row for row in client.status() if row.version == 3).error_message
    shutil.rmtree(broken)
    shutil.copytree(models / "toy/2", folder / "new")
    (folder / "new").rename(folder / "toy/4")
    wait_for(lambda: server.models == {"toy": (4,)})
    wait_for(lambda: 101.0 in answers)


def test_versions_come_and_go_without_one_failed_request(models, tmp_path):
    shutil.copytree(models / "toy/1", tmp_path / "toy/1")
    config = ServerConfig(file_system_poll_wait_seconds=0.1)
    with serve(tmp_path, port=0, config=config) as server, Client(server.address, model="toy") as client:
        answers, failures, done = set(), [], threading.Event()

        def keep_asking():
            while not done.is_set():
                try:
                    answers.update(client.predict_arrays({"x": np.float32([2])})["y"].tolist())
                except CallError as error:
                    failures.append(error)

        asking = threading.Thread(target=keep_asking)
        asking.start()
        try:
            swap_versions(models, tmp_path, server, client, answers)
        finally:
            done.set()
            asking.join()
        assert failures == []
        assert answers == {2.0, 101.0}


def test_a_config_file_that_changes(models, config_file):
    config = ServerConfig(model_config_file_poll_wait_seconds=0.1, allow_version_labels_for_unavailable_models=True)
    with serve(port=0, model_config_file=config_file, config=config) as server:
        config_file.write_text("oops")
        time.sleep(0.3)
        assert ask(server.address, label="stable") == [2]
        text = f'name: "other" base_path: "{models}/toy" model_platform: "tensorflow"'
        config_file.write_text(f"model_config_list {{ config {{ {text} }} }}")
        wait_for(lambda: server.models.get("other") == (2,))
        wait_for(lambda: server.models["toy"] == ())
