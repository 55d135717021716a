"""The client against the official stubs: the same server process, a model that gives back what it is given.

    python benchmarks/client_throughput.py [--seconds 2] [--rounds 3]

The peer is `tensorflow-serving-api` used as its examples do: `make_tensor_proto`, the generated stub, `make_ndarray`.
The server answers at once with bytes that were made before (`client_throughput_server.py`), so that the clients are
measured. Each contestant has a process of its own, as it has with its users. They take turns, and the best round of
each counts. The last line is all figures as JSON.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

# gRPC without the threads that it hands each call to and back: the caller itself waits for the socket.
POLLING = {f"{name}, polling": name for name in ("raw", "tfllm", "official")}
POLLING_ENVIRONMENT = {"GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_for_all_other_endpoints"}
CASES = {
    "one caller": ("raw", "tfllm", "official", *POLLING),
    "one caller, arrays": ("tfllm",),
    "8 callers": ("raw", "tfllm", "official", *POLLING),
    "256 texts": ("tfllm", "official"),
    "256 texts, arrays": ("tfllm",),
    "256 in flight": ("tfllm", "official"),
    "encode": ("tfllm", "official"),
    "decode": ("tfllm", "official"),
}


def vectors():
    """Return an answer with 64 x 768 floats in the typed field, as TensorFlow Serving sends them by default."""
    import numpy as np

    from tfllm.wire import messages, tensors

    response = messages.PredictResponse(model_spec={"name": "m", "version": {"value": 1}})
    tensors.fill(response.outputs["embedding"], np.random.default_rng(0).random((64, 768), "float32"))
    return response.SerializeToString()


class Process:
    """A process that is asked and answers, a line each."""

    def __init__(self, script, *arguments, environment=None):
        command = [sys.executable, str(HERE / script), *arguments]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.said = self._process.stdout.readline().strip()

    def ask(self, *question):
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.kill()
        self._process.communicate()


def race(seconds, rounds, cases):
    """Return case -> contestant -> the figures of its best round."""
    found = {case: {} for case in cases}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "vectors").write_bytes(vectors())
        address = f"127.0.0.1:{stack.enter_context(Process('client_throughput_server.py')).said}"
        arguments = (address, str(folder / "vectors"))
        contestants = {}
        for name in dict.fromkeys(name for case in cases for name in CASES[case]):
            environment = POLLING_ENVIRONMENT if name in POLLING else None
            process = Process(
                "client_throughput_contestant.py", POLLING.get(name, name), *arguments, environment=environment
            )
            contestants[name] = stack.enter_context(process)
        for turn in range(rounds):
            for case in cases:
                for name in CASES[case] if turn % 2 else reversed(CASES[case]):
                    figures = contestants[name].ask(case, seconds)
                    best = found[case].get(name)
                    if best is None or figures["per_second"] > best["per_second"]:
                        found[case][name] = figures
    return found


def ratios(found):
    """Yield what is compared, and the ratio of our figure to the official one."""
    for case, figures in found.items():
        if "official" in figures:
            yield f"{case}, ours / official", figures["tfllm"]["per_second"] / figures["official"]["per_second"]
        if "tfllm, polling" in figures:
            polling = figures["tfllm, polling"]["per_second"]
            yield f"{case}, ours polling / official", polling / figures["official"]["per_second"]
    if {"one caller", "256 in flight"} <= found.keys():
        asyncio, official = found["256 in flight"]["tfllm"], found["one caller"]["official"]
        yield "asyncio 256 in flight / official, one caller", asyncio["per_second"] / official["per_second"]
    if "one caller" in found:
        times = found["one caller"]
        yield "over a raw call, us at the median", times["tfllm"]["median_us"] - times["raw"]["median_us"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    found = race(options.seconds, options.rounds, options.cases)
    for case, figures in found.items():
        print(f"\n{case}")
        for name, row in figures.items():
            median = f"{row['median_us']:10.1f} us" if "median_us" in row else ""
            print(f"  {name:18} {row['per_second']:12,.0f} a second {median}")
    compared = dict(ratios(found))
    print()
    for name, ratio in compared.items():
        print(f"{name:46} {ratio:8.2f}")
    print(json.dumps({"figures": found, "ratios": compared}))


if __name__ == "__main__":
    main()
