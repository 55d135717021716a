"""A contestant of `client_throughput.py` in a process of its own: reads what to measure, says what it found, as JSON.

python benchmarks/client_throughput_contestant.py {tfllm | official | raw} ADDRESS
"""

import asyncio
import json
import os
import statistics
import sys
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

TEXT = "A text of usual length, as people write it to a service."
TEXTS = [f"{TEXT} {number}" for number in range(256)]
TIMEOUT = 10.0
WARM_UP = 0.3  # seconds before those that count


def paced(work, seconds):
    """Call again and again for some seconds; return how long each call took."""
    times, begin = [], time.perf_counter() + WARM_UP
    end = begin + seconds
    while (start := time.perf_counter()) < end:
        work()
        if start >= begin:
            times.append(time.perf_counter() - start)
    return times


def one_caller(work, seconds):
    return found(paced(work, seconds), seconds)


def callers(work, seconds, many=8):
    """The same from many threads."""
    times = [[] for _ in range(many)]
    threads = [threading.Thread(target=lambda own: own.extend(paced(work, seconds)), args=(own,)) for own in times]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found([each for own in times for each in own], seconds)


def tasks(ask, seconds, many=256):
    """The same from many tasks of an event loop; `ask` is a coroutine function."""

    async def work():
        count, begin = 0, time.perf_counter() + WARM_UP
        end = begin + seconds

        async def caller():
            nonlocal count
            while (now := time.perf_counter()) < end:
                await ask()
                count += now >= begin

        await asyncio.gather(*(caller() for _ in range(many)))
        return {"per_second": count / seconds}

    return work()


def found(times, seconds):
    return {"per_second": len(times) / seconds, "median_us": 1e6 * statistics.median(times)}


class Tfllm:
    """This project's clients."""

    def __init__(self, address):
        from tfllm.client import calls
        from tfllm.client.client import Client

        self.address, self.calls = address, calls
        self.one, self.many = Client(address, model="texts"), Client(address, model="texts256")

    def run(self, case, seconds, data):
        one, many, calls = self.one, self.many, self.calls
        target = calls.Target("texts256")
        match case:
            case "one caller":
                return one_caller(lambda: one.predict(TEXT), seconds)
            case "one caller, arrays":
                return one_caller(lambda: one.predict_arrays({"text": [TEXT]}), seconds)
            case "8 callers":
                return callers(lambda: one.predict(TEXT), seconds)
            case "256 texts":
                return one_caller(lambda: many.predict(TEXTS, batch_size=256), seconds)
            case "256 texts, arrays":
                return one_caller(lambda: many.predict_arrays({"text": TEXTS}), seconds)
            case "256 in flight":
                return asyncio.run(self.in_flight(seconds))
            case "encode":
                return one_caller(lambda: calls.text_request(target, {"text": TEXTS}), seconds)
            case "decode":
                return one_caller(lambda: calls.outputs_of(data)["embedding"], seconds)

    async def in_flight(self, seconds):
        from tfllm.client.aio import AsyncClient

        async with AsyncClient(self.address, model="texts") as client:
            return await tasks(lambda: client.predict(TEXT), seconds)


class Official:
    """tensorflow-serving-api as its examples use it: `make_tensor_proto`, the generated stub, `make_ndarray`."""

    def __init__(self, address):
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        self.address, self.grpc, self.tf, self.predict_pb2 = address, grpc, tf, predict_pb2
        self.stubs = prediction_service_pb2_grpc.PredictionServiceStub
        self.stub = self.stubs(grpc.insecure_channel(address))

    def request(self, model, texts):
        request = self.predict_pb2.PredictRequest()
        request.model_spec.name = model
        request.inputs["text"].CopyFrom(self.tf.make_tensor_proto(texts))
        return request

    def arrays(self, response):
        return {name: self.tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def predict(self, model, texts):
        return self.arrays(self.stub.Predict(self.request(model, texts), TIMEOUT))

    def run(self, case, seconds, data):
        parse = self.predict_pb2.PredictResponse.FromString
        match case:
            case "one caller":
                return one_caller(lambda: self.predict("texts", [TEXT]), seconds)
            case "8 callers":
                return callers(lambda: self.predict("texts", [TEXT]), seconds)
            case "256 texts":
                return one_caller(lambda: self.predict("texts256", TEXTS), seconds)
            case "256 in flight":
                return asyncio.run(self.in_flight(seconds))
            case "encode":
                return one_caller(lambda: self.request("texts256", TEXTS).SerializeToString(), seconds)
            case "decode":
                return one_caller(lambda: self.arrays(parse(data))["embedding"], seconds)

    async def in_flight(self, seconds):
        async with self.grpc.aio.insecure_channel(self.address) as channel:
            stub = self.stubs(channel)

            async def ask():
                return self.arrays(await stub.Predict(self.request("texts", [TEXT]), timeout=TIMEOUT))

            return await tasks(ask, seconds)


class Raw:
    """gRPC alone: ready bytes in, bytes out."""

    def __init__(self, address):
        import grpc

        from tfllm.client.calls import Target, text_request
        from tfllm.wire import messages

        self.call = grpc.insecure_channel(address).unary_unary(messages.PREDICT, None, None)
        self.data = text_request(Target("texts"), {"text": [TEXT]})

    def run(self, case, seconds, data):
        def ask():
            return self.call(self.data, timeout=TIMEOUT)

        return one_caller(ask, seconds) if case == "one caller" else callers(ask, seconds)


def main():
    kind, address, file = sys.argv[1:]
    data = Path(file).read_bytes()
    contestant = {"tfllm": Tfllm, "official": Official, "raw": Raw}[kind](address)
    print("ready", flush=True)
    for line in sys.stdin:
        case, seconds = json.loads(line)
        print(json.dumps(contestant.run(case, seconds, data)), flush=True)


if __name__ == "__main__":
    main()
