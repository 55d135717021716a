"""Measure `tfllm serve` under load: clients in processes of their own, every error counted.

    python benchmarks/serving_load.py graph batching --seconds 20
    python benchmarks/serving_load.py tokens overhead rollout --seconds 20

A classifier with the weights of all-MiniLM-L6-v2 is exported once into `--folder`. Texts are the sentences of
`examples/support_requests.csv`, or of `--texts` (a CSV file with a column `text` or `sentence`).
"""

import argparse
import collections
import contextlib
import functools
import itertools
import json
import random
import shutil
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
from serving_machine import (
    BATCHING,
    MODEL,
    drive,
    predict_request,
    quantile,
    read_texts,
    run_steps,
    save_padded,
    serving,
    show,
)
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2, model_service_pb2_grpc


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


def first(folder, options):
    """How long the first request of each length takes after a start, beside the median of the same text later on."""
    by_length = sorted(options.mixed, key=lambda text: len(text.split()))
    texts = [by_length[round(share * (len(by_length) - 1))] for share in (0, 0.25, 0.5, 0.75, 0.9, 1)]
    ratios = collections.defaultdict(list)
    for start in range(5):
        with serving(folder) as server, grpc.insecure_channel(server.address) as channel:
            grpc.channel_ready_future(channel).result(60)
            call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
            for text in random.Random(start).sample(texts, len(texts)):
                times = []
                for _ in range(60):
                    began = time.perf_counter()
                    call(predict_request(text), timeout=60)
                    times.append(time.perf_counter() - began)
                ratios[len(text.split())].append((times[0] * 1000, quantile(times[1:], 0.5)))
    for words, found in sorted(ratios.items()):
        pairs = ", ".join(f"{once:.1f} / {median:.1f} ({once / median:.2f})" for once, median in found)
        print(f"  {words} words, first / median ms: {pairs}")


def rollout(folder, options):
    models = folder / "rollout"
    shutil.rmtree(models, ignore_errors=True)
    shutil.copytree(folder / MODEL / "1", models / MODEL / "1")
    flags = ["--grpc_max_threads=64", *BATCHING, "--file_system_poll_wait_seconds=0.2"]
    flags += ["--allow_version_labels_for_unavailable_models", "--version-policy=latest:2"]
    with serving(folder, *flags, models=models) as server:
        drive(server.address, folder / "single.txt", 64, 3)
        steady = drive(server.address, folder / "single.txt", 64, options.seconds / 4)
        show("64 clients before", *steady, options.seconds / 4)
        marks = []
        swapping = threading.Thread(target=_swap, args=(server.address, folder, models, options.seconds, marks))
        swapping.start()
        times, statuses, seconds = [], collections.Counter(), 0.0
        while swapping.is_alive():  # loading is slow under load
            found = drive(server.address, folder / "single.txt", 64, options.seconds)
            times, statuses, seconds = times + found[0], statuses + found[1], seconds + options.seconds
        show(f"{len(marks)} changes under 64 clients", times, statuses, seconds)
        loads = [end - start for start, end in marks]
        print(f"  versions were copied, loaded and warmed up in {min(loads):.1f} to {max(loads):.1f} s")
        before = quantile([value for _, value in steady[0]], 0.99)
        for name, longest in (("meanwhile", float("inf")), ("in the first 2 s of these", 2)):
            spans = [(start, min(end, start + longest)) for start, end in marks]
            near = [value for at, value in times if any(start <= at <= end for start, end in spans)]
            p99 = quantile(near, 0.99)
            print(f"  {name}: {len(near)} answers, p99 {p99:.1f} ms, {p99 / before:.2f} times that before")
        states = urllib.request.urlopen(f"http://127.0.0.1:{server.rest_port}/v1/models/{MODEL}", timeout=30).read()
        print("  loaded:", json.loads(states)["model_version_status"][0]["version"])


def _swap(address, folder, models, seconds, marks):
    """Publish ten versions, the sixth of them broken, and move a label after each other one."""
    begin = time.time()
    with grpc.insecure_channel(address) as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        for number in range(2, 12):
            time.sleep(max(1, begin + (number - 1) * seconds / 11.5 - time.time()))
            start = time.time()
            partial = models / MODEL / f".partial-{number}"
            shutil.copytree(folder / MODEL / "1", partial)
            if number == 7:
                (partial / "saved_model.pb").write_bytes(b"broken")
            partial.rename(models / MODEL / str(number))
            _wait_until_loaded(stub, number)
            marks.append((start, time.time()))
            if number % 2 == 0:
                request = model_management_pb2.ReloadConfigRequest()
                config = request.config.model_config_list.config.add(
                    name=MODEL, base_path=str(models / MODEL), model_platform="tensorflow"
                )
                config.model_version_policy.latest.num_versions = 2
                config.version_labels["stable"] = number
                with contextlib.suppress(grpc.RpcError):  # the broken one may be among the two
                    stub.HandleReloadConfigRequest(request, timeout=60)


def _wait_until_loaded(stub, number):
    """Wait until a version is served, or has failed to load."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = MODEL
    done = get_model_status_pb2.ModelVersionStatus.AVAILABLE, get_model_status_pb2.ModelVersionStatus.END
    while True:
        versions = stub.GetModelStatus(request, timeout=60).model_version_status
        if any(found.version == number and found.state in done for found in versions):
            return
        time.sleep(0.05)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=2, help="turns of each server in the seconds")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--budgets", type=int, nargs="+", default=[0, 512, 1024])
    run_steps(parser, STEPS)


STEPS = (graph, batching, tokens, overhead, first, rollout)

if __name__ == "__main__":
    main()
