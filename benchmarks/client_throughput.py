"""The client against the official stubs: the same server process, a model that gives back what it is given.

    python benchmarks/client_throughput.py [--seconds 3] [--rounds 3]

The peer is `tensorflow-serving-api` used as its examples do: `make_tensor_proto`, the generated stub, `make_ndarray`.
The server answers with bytes that were made before, without a model, so that the clients are measured; it runs in
a process of its own. Contestants take turns, and the best round of each counts. The last line is all figures as JSON.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SERVER = """
import asyncio, sys
import grpc.aio
import numpy as np
from tfllm.wire import messages, tensors

def answer(**outputs):
    response = messages.PredictResponse(model_spec={"name": "m", "version": {"value": 1}})
    for name, value in outputs.items():
        tensors.fill(response.outputs[name], value)
    return response.SerializeToString()

ROWS = {"texts": 1, "256 texts": 256}
ANSWERS = {name: answer(label=["good"] * rows, score=np.full(rows, 0.9, "float32"),
                        scores=np.full((rows, 2), 0.5, "float32")) for name, rows in ROWS.items()}
ANSWERS["vectors"] = answer(embedding=np.random.default_rng(0).random((64, 768), "float32"))

class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        async def reply(request, context):
            for name, data in ANSWERS.items():
                if name.encode() in request[:40]:
                    return data
        return grpc.unary_unary_rpc_method_handler(reply)

async def main():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Handler()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()

asyncio.run(main())
"""

TEXT = "A text of usual length, as people write it to a service."
TEXTS = [f"{TEXT} {number}" for number in range(256)]


@contextlib.contextmanager
def serving():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield f"127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()


def per_second(work, seconds):
    """Call again and again for some seconds; return calls a second and the median time in microseconds."""
    times, end = [], time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        work()
        times.append(time.perf_counter() - start)
    return len(times) / sum(times), 1e6 * statistics.median(times)


class Official:
    """tensorflow-serving-api, as its examples use it."""

    def __init__(self, address):
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        self.tf, self.predict_pb2 = tf, predict_pb2
        self.channel = grpc.insecure_channel(address)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def request(self, model, texts):
        request = self.predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.inputs["text"].CopyFrom(self.tf.make_tensor_proto(texts))
        return request

    def predict(self, model, texts):
        response = self.stub.Predict(self.request(model, texts), 10.0)
        return {name: self.tf.make_ndarray(proto) for name, proto in response.outputs.items()}


def singles(address, official, seconds):
    import grpc

    from tfllm.client.calls import Target, text_request
    from tfllm.client.client import Client
    from tfllm.wire import messages

    raw = grpc.insecure_channel(address).unary_unary(messages.PREDICT, None, None)
    data = text_request(Target("texts"), {"text": [TEXT]})
    with Client(address, model="texts") as client:
        return {
            "tfllm, one text": per_second(lambda: client.predict(TEXT), seconds),
            "tfllm, arrays": per_second(lambda: client.predict_arrays({"text": [TEXT]}), seconds),
            "official stubs": per_second(lambda: official.predict("texts", [TEXT]), seconds),
            "raw grpc call": per_second(lambda: raw(data, timeout=10.0), seconds),
        }


def encoding(official, seconds):
    from tfllm.client.calls import Target, text_request

    target = Target("256 texts")
    return {
        "tfllm": per_second(lambda: text_request(target, {"text": TEXTS}), seconds),
        "official": per_second(lambda: official.request("256 texts", TEXTS).SerializeToString(), seconds),
    }


def decoding(official, seconds):
    """64 x 768 floats in the typed field, as TensorFlow Serving sends them unless told otherwise."""
    from tfllm.client.calls import outputs_of

    data = official.stub.Predict(official.request("vectors", [TEXT]), 10.0).SerializeToString()
    make, parse = official.tf.make_ndarray, official.predict_pb2.PredictResponse.FromString
    return {
        "tfllm": per_second(lambda: outputs_of(data)["embedding"], seconds),
        "official": per_second(lambda: make(parse(data).outputs["embedding"]), seconds),
    }


def in_flight(address, seconds, many=256):
    """Texts a second with so many calls under way."""
    from tfllm.client.aio import AsyncClient

    async def work():
        async with AsyncClient(address, model="texts") as client:
            count, end = 0, time.perf_counter() + seconds

            async def caller():
                nonlocal count
                while time.perf_counter() < end:
                    await client.predict(TEXT)
                    count += 1

            await asyncio.gather(*(caller() for _ in range(many)))
            return count / seconds

    return asyncio.run(work())


def race(seconds, rounds):
    with serving() as address:
        official = Official(address)
        found = {"singles": [], "encoding": [], "decoding": [], "in flight": []}
        for _ in range(rounds):
            found["singles"].append(singles(address, official, seconds))
            found["encoding"].append(encoding(official, seconds))
            found["decoding"].append(decoding(official, seconds))
            found["in flight"].append({"tfllm, asyncio, 256 in flight": (in_flight(address, seconds), 0.0)})
    return {
        name: {
            who: {
                "per_second": max(turn[who][0] for turn in turns),
                "median_us": min(turn[who][1] for turn in turns),
            }
            for who in turns[0]
        }
        for name, turns in found.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found = race(options.seconds, options.rounds)
    for name, rows in found.items():
        print(f"\n{name}")
        for who, figures in rows.items():
            print(f"  {who:32} {figures['per_second']:12,.0f} a second {figures['median_us']:10.1f} us")
    one, stubs = found["singles"]["tfllm, one text"], found["singles"]["official stubs"]
    ratios = {
        "single texts, ours / official": one["per_second"] / stubs["per_second"],
        "encoding 256 texts, ours / official": found["encoding"]["tfllm"]["per_second"]
        / found["encoding"]["official"]["per_second"],
        "decoding 64 x 768, ours / official": found["decoding"]["tfllm"]["per_second"]
        / found["decoding"]["official"]["per_second"],
        "asyncio 256 in flight / official sync": found["in flight"]["tfllm, asyncio, 256 in flight"]["per_second"]
        / stubs["per_second"],
        "over a raw call, us at the median": one["median_us"] - found["singles"]["raw grpc call"]["median_us"],
    }
    print()
    for name, ratio in ratios.items():
        print(f"{name:42} {ratio:8.2f}")
    print(json.dumps({"figures": found, "ratios": ratios}))


if __name__ == "__main__":
    main()
