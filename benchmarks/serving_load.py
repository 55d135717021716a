"""Measure `tfllm serve` under load: clients in processes of their own, every error counted.

    python benchmarks/serving_load.py graph batching --seconds 20
    python benchmarks/serving_load.py tokens overhead rollout overload fuzz soak --seconds 20

A classifier with the weights of all-MiniLM-L6-v2 is exported once into `--folder`. Texts are the sentences of
`examples/support_requests.csv`, or of `--texts` (a CSV file with a column `text` or `sentence`).
"""

import argparse
import base64
import collections
import contextlib
import functools
import itertools
import json
import os
import random
import shutil
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from serving_machine import (
    BATCHING,
    HERE,
    MODEL,
    drive,
    export_model,
    mixed_lengths,
    quantile,
    read_texts,
    save_padded,
    serving,
    show,
    write_requests,
)
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc


def graph(folder, options):
    """The graph alone, in this process, by one and by two threads: what a server can reach at most."""
    import numpy as np

    from tfllm.repository import find_version
    from tfllm.server.session_graph import SessionGraph, SessionThreads

    loaded = SessionGraph(find_version(folder / MODEL), SessionThreads())
    signature = loaded.signatures["serving_default"]
    run = functools.partial(loaded.run, tuple(signature.feeds.values()), tuple(signature.fetches.values()))
    for name, texts in (("support requests", read_texts(options.texts)), ("4 to 100 words", options.mixed)):
        for rows, threads in itertools.product((1, 8, 32, 64), (1, 2)):
            order = random.Random(0)
            batches = [np.array([text.encode() for text in order.choices(texts, k=rows)], object) for _ in range(50)]
            for batch in batches[:3]:
                run([batch])
            start = time.perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                parts = [pool.submit(_repeat, run, batches, start + options.seconds / 8) for _ in range(threads)]
            times = [value for part in parts for value in part.result()]
            rate = rows * len(times) / (time.perf_counter() - start)
            print(f"  {name}, {rows} rows, {threads} threads: {rate:.1f} rows/s, p50 {quantile(times, 0.5):.1f} ms")
    loaded.close()


def _repeat(run, batches, end):
    times = []
    while (start := time.perf_counter()) < end:
        run([batches[len(times) % len(batches)]])
        times.append(time.perf_counter() - start)
    return times


def batching(folder, options):
    """Three servers take turns, so that what else the machine does meets all of them."""
    kinds = {
        "each alone": [],
        "batching": BATCHING,
        "token budget": [*BATCHING, "--batch_token_budget=1024"],
    }
    with contextlib.ExitStack() as stack:
        servers = {
            name: stack.enter_context(serving(folder, "--grpc_max_threads=64", *flags)) for name, flags in kinds.items()
        }
        for server in servers.values():
            drive(server.address, folder / "single.txt", 64, 2)
        for clients in options.clients:
            _take_turns(servers, folder / "single.txt", clients, options)


def _take_turns(servers, requests, clients, options):
    found = {name: ([], collections.Counter(), 0.0) for name in servers}
    for _ in range(options.rounds):
        for name, server in servers.items():
            before = server.processor_seconds
            times, statuses = drive(server.address, requests, clients, options.seconds / options.rounds)
            seen = found[name]
            found[name] = (seen[0] + times, seen[1] + statuses, seen[2] + server.processor_seconds - before)
    for name, (times, statuses, spent) in found.items():
        show(f"{name}, {clients} clients", times, statuses, options.seconds)
        print(f"      {len(times) / spent:.1f} answers a second of the server's processor time", flush=True)


def tokens(folder, options):
    """Servers by rows and by tokens take turns, with the packed graph and with one that computes padding."""
    save_padded(folder, options.preset)
    for kind, models in (("packed", None), ("padded", folder / "padded")):
        with contextlib.ExitStack() as stack:
            servers = {}
            for budget in options.budgets:
                name = f"{kind} graph, {f'budget {budget}' if budget else 'by rows'}"
                flags = ["--grpc_max_threads=64", *BATCHING, f"--batch_token_budget={budget}"]
                servers[name] = stack.enter_context(serving(folder, *flags, models=models))
                drive(servers[name].address, folder / "mixed.txt", 64, 2)
            _take_turns(servers, folder / "mixed.txt", 64, options)
            for name, server in servers.items():
                found = server.metrics()
                padding, real = found["tfllm_padding_tokens_total"], found["tfllm_tokens_total"]
                if real:
                    print(f"      {name}: padding {padding / (padding + real):.0%} of the tokens, as estimated")


class _Beside:
    """Collects what requests took in the server, and what of it was not the graph."""

    def __init__(self):
        self.beside, self.total = [], []

    def on_request(self, event):
        self.total.append(event.seconds)
        self.beside.append(event.seconds - event.run_seconds)


def overhead(folder, options):
    """The server is in this process, so that it can be watched; the client is in another."""
    import tfllm
    from tfllm.server.config import ServerConfig

    batched = ServerConfig(enable_batching=True, batching_parameters_file=str(folder / "batching.config"))
    for name, config in (("each alone", ServerConfig()), ("batching", batched)):
        with tfllm.serve(folder / MODEL, port=0, config=config) as server:
            drive(server.address, folder / "single.txt", 1, 2)
            seen = _Beside()
            server.observe(seen)
            times, statuses = drive(server.address, folder / "single.txt", 1, options.seconds)
            show(f"{name}, 1 client", times, statuses, options.seconds)
            graphs = [total - beside for total, beside in zip(seen.total, seen.beside, strict=True)]
            outside = quantile([value for _, value in times], 0.5) - quantile(graphs, 0.5)
            print(
                f"      beside the graph: in the server p50 {quantile(seen.beside, 0.5):.3f} ms, "
                f"p99 {quantile(seen.beside, 0.99):.3f} ms; seen by the client, gRPC at both ends included, "
                f"p50 {outside:.3f} ms"
            )


def rollout(folder, options):
    models = folder / "rollout"
    shutil.rmtree(models, ignore_errors=True)
    shutil.copytree(folder / MODEL / "1", models / MODEL / "1")
    flags = ["--grpc_max_threads=64", *BATCHING, "--file_system_poll_wait_seconds=0.2"]
    flags += ["--allow_version_labels_for_unavailable_models", "--version-policy=latest:2"]
    with serving(folder, *flags, models=models) as server:
        drive(server.address, folder / "single.txt", 16, 3)
        steady = drive(server.address, folder / "single.txt", 16, options.seconds / 4)
        show("16 clients before", *steady, options.seconds / 4)
        marks = []
        swapping = threading.Thread(target=_swap, args=(server.address, folder, models, options.seconds, marks))
        swapping.start()
        times, statuses = drive(server.address, folder / "single.txt", 16, options.seconds)
        swapping.join()
        near = [value for at, value in times if any(0 <= at - mark <= 2 for mark in marks)]
        show(f"{len(marks)} changes under 16 clients", times, statuses, options.seconds)
        print(f"  p99 within 2 s of a change {quantile(near, 0.99):.1f} ms")
        states = urllib.request.urlopen(f"http://127.0.0.1:{server.rest_port}/v1/models/{MODEL}", timeout=30).read()
        print("  loaded:", json.loads(states)["model_version_status"][0]["version"])


def _swap(address, folder, models, seconds, marks):
    """Publish ten versions, the sixth of them broken, and move a label after each other one."""
    pause = seconds / 12
    with grpc.insecure_channel(address) as channel:
        reload = model_service_pb2_grpc.ModelServiceStub(channel).HandleReloadConfigRequest
        for number in range(2, 12):
            time.sleep(pause)
            marks.append(time.time())
            partial = models / MODEL / f".partial-{number}"
            shutil.copytree(folder / MODEL / "1", partial)
            if number == 7:
                (partial / "saved_model.pb").write_bytes(b"broken")
            partial.rename(models / MODEL / str(number))
            if number % 2 == 0:
                request = model_management_pb2.ReloadConfigRequest()
                config = request.config.model_config_list.config.add(
                    name=MODEL, base_path=str(models / MODEL), model_platform="tensorflow"
                )
                config.model_version_policy.latest.num_versions = 2
                config.version_labels["stable"] = number
                with contextlib.suppress(grpc.RpcError):  # the broken one may be among the two
                    reload(request, timeout=60)


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
    """Send 100,000 requests that are no right ones: damaged protobuf over gRPC."""
    good = [base64.b64decode(line) for line in (folder / "single.txt").read_text().splitlines()[:50]]
    order, damaged = random.Random(0), []
    for _ in range(2000):
        data = bytearray(order.choice(good))
        for _ in range(order.randint(1, 8)):
            data[order.randrange(len(data))] = order.randrange(256)
        damaged.append(bytes(data[: order.randrange(len(data) + 1)] if order.random() < 0.3 else data))
    (folder / "damaged.txt").write_text("".join(base64.b64encode(data).decode() + "\n" for data in damaged))
    with serving(folder) as server:
        drive(server.address, folder / "single.txt", 4, 2)
        before, sent, statuses = server.memory, 0, collections.Counter()
        while sent < options.fuzz:
            result = drive(server.address, folder / "damaged.txt", 32, 10)
            statuses += result[1]
            sent = sum(statuses.values())
        print(f"  {sent} damaged requests: {dict(statuses)}; memory {before:.0f} to {server.memory:.0f} MB")
        show("4 clients afterwards", *drive(server.address, folder / "single.txt", 4, 3), 3)


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
    parser.add_argument("what", nargs="+", choices=[step.__name__ for step in STEPS])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=2, help="turns of each server in the seconds")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--budgets", type=int, nargs="+", default=[0, 512, 1024])
    parser.add_argument("--soak", type=float, default=1800, help="seconds of soak")
    parser.add_argument("--rate", type=float, default=40, help="requests a second of the soak")
    parser.add_argument("--fuzz", type=int, default=100_000, help="how many damaged requests")
    parser.add_argument("--folder", type=Path, default=HERE / ".serving")
    parser.add_argument("--preset", default="all_minilm_l6_v2_en")
    parser.add_argument("--texts", type=Path, default=HERE.parent / "examples" / "support_requests.csv")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    options.folder = options.folder.resolve()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    export_model(options.folder, options.preset)
    texts = read_texts(options.texts)
    write_requests(options.folder / "single.txt", texts)
    options.mixed = mixed_lengths(texts)
    write_requests(options.folder / "mixed.txt", options.mixed)
    for step in STEPS:
        if step.__name__ in options.what:
            print(step.__name__, flush=True)
            step(options.folder, options)


STEPS = (graph, batching, tokens, overhead, rollout, overload, fuzz, soak)

if __name__ == "__main__":
    main()
