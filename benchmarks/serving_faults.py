"""What `tfllm serve` does with too much, with what is wrong, and after a long time.

    python benchmarks/serving_faults.py overload fuzz --seconds 60
    python benchmarks/serving_faults.py soak

The model, and the texts, are those of `serving_load.py`.
"""

import argparse
import base64
import collections
import json
import random
import threading

from serving_machine import BATCHING, MODEL, drive, run_steps, serving, show
from tensorflow_serving.apis import predict_pb2

_TEXTS = [b"fine", b"\xff\xfe\x80", b"", b"\0", "é".encode()[:1], b"a " * 5000]
_VALUES = ['"fine"', '"\\ud800"', "1e999", "NaN", "null", '{"b64": "////"}', '{"b64": "?"}', '{"text": 1}', "[[]]", "-"]


def overload(folder, options):
    flags = ["--grpc_max_threads=16", "--max_waiting_requests=64", *BATCHING]
    with serving(folder, *flags) as server:
        result = drive(server.address, folder / "single.txt", 64, options.seconds / 4)
        show("64 clients", *result, options.seconds / 4)
        memory = [server.memory]
        watching = threading.Event()

        def watch():
            while not watching.wait(0.5):
                memory.append(server.memory)

        watcher = threading.Thread(target=watch)
        watcher.start()
        result = drive(server.address, folder / "single.txt", 640, options.seconds)
        watching.set()
        watcher.join()
        show("640 clients", *result, options.seconds)
        print(f"  memory {memory[0]:.0f} MB before, {max(memory):.0f} MB at most, {server.memory:.0f} MB after")
        show("8 clients afterwards", *drive(server.address, folder / "single.txt", 8, 3), 3)


def fuzz(folder, options):
    """Send 100,000 requests that are no right ones, half of them over gRPC and half over REST."""
    order = random.Random(0)
    good = [base64.b64decode(line) for line in (folder / "single.txt").read_text().splitlines()[:50]]
    bodies = [json.dumps({"instances": [text]}).encode() for text in options.mixed[:50]]
    damaged = {
        "damaged.txt": [_damage(order.choice(good), order) for _ in range(1000)] + [_odd(order) for _ in range(1000)],
        "damaged_json.txt": [_damage(order.choice(bodies), order) for _ in range(1000)]
        + [_odd_json(order) for _ in range(1000)],
    }
    for name, requests in damaged.items():
        lines = (base64.b64encode(data).decode() + "\n" for data in requests)
        (folder / name).write_text("".join(lines))
    with serving(folder) as server:
        drive(server.address, folder / "single.txt", 4, 2)
        addresses = {"gRPC": server.address, "REST": f"http://127.0.0.1:{server.rest_port}/v1/models/{MODEL}:predict"}
        for (name, address), file in zip(addresses.items(), damaged, strict=True):
            memory, statuses = [server.memory], collections.Counter()
            while (sent := sum(statuses.values())) < options.fuzz / 2:
                statuses += drive(address, folder / file, 32, 10)[1]
                memory.append(server.memory)
            print(f"  {sent} by {name}: {dict(statuses)}", flush=True)
            print(f"    memory every 10 s: {', '.join(f'{value:.0f}' for value in memory)} MB", flush=True)
        show("4 clients afterwards", *drive(server.address, folder / "single.txt", 4, 3), 3)


def _damage(request, order):
    """Change some bytes, and sometimes cut the end off."""
    data = bytearray(request)
    for _ in range(order.randint(1, 8)):
        data[order.randrange(len(data))] = order.randrange(256)
    return bytes(data[: order.randrange(len(data) + 1)] if order.random() < 0.3 else data)


def _odd(order):
    """Make a request that is protobuf, of types, shapes, names and texts that the model does not take."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = order.choice([MODEL] * 8 + ["", "../" + MODEL, "x" * 5000])
    request.model_spec.signature_name = order.choice(["", "", "serving_default", "nope", "\0"])
    for name in order.choice([["text"]] * 4 + [["text", "text_2"], ["nope"], []]):
        tensor = request.inputs[name]
        tensor.dtype = order.choice([7, 7, 7, 1, 3, 9, 20, 21, 0])
        sizes = [1, 1, 0, 2, -1, 7, 2**31, 2**40, 2**62]
        for _ in range(order.choice([1, 1, 1, 0, 2, 3, 300])):
            tensor.tensor_shape.dim.add(size=order.choice(sizes))
        tensor.tensor_shape.unknown_rank = order.random() < 0.05
        for _ in range(order.choice([1, 1, 0, 2, 50])):
            tensor.string_val.append(order.choice(_TEXTS))
        if order.random() < 0.2:
            tensor.tensor_content = order.randbytes(order.choice([1, 4, 8, 1000]))
        if order.random() < 0.2:
            tensor.float_val.extend([float("nan"), 1e38])
    request.output_filter.extend(order.choice([[]] * 5 + [["nope"], ["label", "label"]]))
    return request.SerializeToString()


def _odd_json(order):
    """Make a body that is JSON or nearly so, of values that the model does not take."""
    deep = "[" * order.choice([10, 1000, 100_000])
    value = order.choice([*_VALUES, deep])
    key = order.choice(["instances", "inputs", "examples", "nope"])
    text = order.choice(['{{"{0}": [{1}]}}', '{{"{0}": {1}}}', '{{"{0}": [[{1}, "a"], {1}]}}', '{{"{0}": [{1}'])
    body = text.format(key, value).encode()
    return body.replace(b"fine", b"\xff\xfe") if order.random() < 0.5 else body


def soak(folder, options):
    with serving(folder, *BATCHING) as server:
        drive(server.address, folder / "mixed.txt", 8, 20, pause=8 / options.rate)
        first = server.memory
        step = max(5.0, options.soak / 10)
        for _ in range(max(1, round(options.soak / step))):
            result = drive(server.address, folder / "mixed.txt", 8, step, pause=8 / options.rate)
            show(f"{server.memory:.0f} MB", *result, step)
        print(f"  memory {first:.0f} MB after the first 20 s, {server.memory:.0f} MB at the end")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="seconds of overload")
    parser.add_argument("--soak", type=float, default=1800, help="seconds of soak")
    parser.add_argument("--rate", type=float, default=40, help="requests a second of the soak")
    parser.add_argument("--fuzz", type=int, default=100_000, help="how many wrong requests")
    run_steps(parser, STEPS)


STEPS = (overload, fuzz, soak)

if __name__ == "__main__":
    main()
