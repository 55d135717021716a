"""Measure `tfllm serve` under load: clients in processes of their own, every error counted.

    python benchmarks/serving_load.py batching --seconds 60
    python benchmarks/serving_load.py tokens overhead rollout overload fuzz soak --seconds 60

A classifier with the weights of all-MiniLM-L6-v2 is exported once into `--folder`. Texts are the sentences of
`examples/support_requests.csv`, or of `--texts` (a CSV file with a column `text` or `sentence`).
"""

import argparse
import base64
import collections
import contextlib
import csv
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import grpc
import psutil
from tensorflow_serving.apis import model_management_pb2, model_service_pb2_grpc, predict_pb2

HERE = Path(__file__).parent
MODEL = "load"
COUNT = "max_batch_size { value: 32 } max_enqueued_batches { value: 100 } num_batch_threads { value: 1 }"
BATCHING = ["--enable_batching", "--batching_parameters_file=BATCHING"]


def export_model(folder, preset):
    if not (folder / MODEL / "1").exists():
        from tfllm.exporting.saved_model import export
        from tfllm.tasks.text_classifier import TextClassifier

        export(TextClassifier.from_preset(preset, labels=["bad", "good"]), folder / MODEL)
    (folder / "batching.config").write_text(COUNT)
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")


def read_texts(path):
    with open(path, newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        column = next(name for name in rows.fieldnames if name in ("text", "sentence", "message", "request"))
        return [row[column] for row in rows][:2000]


def mixed_lengths(texts, seed=0):
    """Make texts of 4 to 100 words, short ones far more often than long ones."""
    order, words = random.Random(seed), [word for text in texts for word in text.split()]
    sizes = [min(100, max(4, int(order.lognormvariate(2.8, 0.9)))) for _ in range(500)]
    starts = [order.randrange(len(words) - size) for size in sizes]
    return [" ".join(words[start : start + size]) for start, size in zip(starts, sizes, strict=True)]


def write_requests(path, texts):
    with open(path, "w", encoding="ascii") as file:
        for text in texts:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = MODEL
            tensor = request.inputs["text"]
            tensor.dtype = 7
            tensor.tensor_shape.dim.add(size=1)
            tensor.string_val.append(text.encode())
            file.write(base64.b64encode(request.SerializeToString()).decode() + "\n")


class Server:
    """A server in a process of its own."""

    def __init__(self, folder, *flags, models=None):
        flags = [flag.replace("BATCHING", str(folder / "batching.config")) for flag in flags]
        self.log = open(folder / "server.log", "ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tfllm", "serve", str(models or folder), "--port=0", "--rest_api_port=18777"]
            + [f"--monitoring_config_file={folder / 'monitoring.config'}", *flags],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        line = self.process.stdout.readline()
        if not line.startswith("Serving"):
            raise SystemExit(f"The server did not start; see {folder / 'server.log'}")
        self.address = re.search(r" on (\S+) ", line).group(1)

    def metrics(self):
        url = "http://127.0.0.1:18777/monitoring/prometheus/metrics"
        with urllib.request.urlopen(url, timeout=30) as response:
            rows = re.findall(r"^([^#\s]\S*?)(?:\{[^}]*\})? (\S+)$", response.read().decode(), re.M)
        found = collections.Counter()
        for name, value in rows:
            found[name] += float(value)
        return found

    @property
    def memory(self):
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    def stop(self):
        self.process.terminate()
        code = self.process.wait(60)
        self.log.close()
        return code


@contextlib.contextmanager
def serving(folder, *flags, **options):
    server = Server(folder, *flags, **options)
    try:
        yield server
    finally:
        code = server.stop()
        if code:
            print(f"  the server ended with status {code}")


def drive(address, requests, clients, seconds):
    """Send requests from so many clients, in up to two processes."""
    processes = min(2, clients)
    shares = [clients // processes + (number < clients % processes) for number in range(processes)]
    started = [
        subprocess.Popen(
            [sys.executable, HERE / "serving_client.py", address, requests, f"--clients={share}"]
            + [f"--seconds={seconds}", f"--seed={number}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, share in enumerate(shares)
    ]
    answers = [json.loads(process.communicate()[0]) for process in started]
    times = sorted(pair for answer in answers for pair in map(tuple, answer["seconds"]))
    statuses = sum((collections.Counter(answer["statuses"]) for answer in answers), collections.Counter())
    return times, statuses


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 if ordered else float("nan")


def show(name, times, statuses, seconds):
    values = [value for _, value in times]
    errors = {status: count for status, count in statuses.items() if status != "OK"}
    print(
        f"  {name:34} {len(values) / seconds:7.1f} /s   p50 {quantile(values, 0.5):7.1f} ms   "
        f"p99 {quantile(values, 0.99):7.1f} ms   errors {errors or 0}",
        flush=True,
    )
    return len(values) / seconds


def batching(folder, options):
    for name, flags in (
        ("each alone", []),
        ("batching", BATCHING),
        ("token budget", [*BATCHING, "--batch_token_budget=1024"]),
    ):
        with serving(folder, "--grpc_max_threads=64", *flags) as server:
            drive(server.address, folder / "single.txt", 8, 3)
            for clients in (1, 8, 64):
                result = drive(server.address, folder / "single.txt", clients, options.seconds)
                show(f"{name}, {clients} clients", *result, options.seconds)


def tokens(folder, options):
    for budget in (0, 256, 512, 1024, 2048):
        with serving(folder, "--grpc_max_threads=64", *BATCHING, f"--batch_token_budget={budget}") as server:
            drive(server.address, folder / "mixed.txt", 8, 3)
            result = drive(server.address, folder / "mixed.txt", 64, options.seconds)
            show(f"budget {budget}" if budget else "by rows", *result, options.seconds)
            found = server.metrics()
            if budget:
                padding, real = found["tfllm_padding_tokens_total"], found["tfllm_tokens_total"]
                print(f"      padding {padding / (padding + real):.0%} of the tokens, as estimated")


def overhead(folder, options):
    with serving(folder) as server:
        drive(server.address, folder / "single.txt", 1, 2)
        before = server.metrics()
        result = drive(server.address, folder / "single.txt", 1, options.seconds)
        show("1 client", *result, options.seconds)
        after = server.metrics()
        spent = {
            part: (after[f"tfllm_{part}_seconds_sum"] - before[f"tfllm_{part}_seconds_sum"]) * 1000
            for part in ("request", "run")
        }
        count = after["tfllm_request_seconds_count"] - before["tfllm_request_seconds_count"]
        print(f"  inside the server, beside the graph: {(spent['request'] - spent['run']) / count:.3f} ms a request")


def rollout(folder, options):
    models = folder / "rollout"
    shutil.rmtree(models, ignore_errors=True)
    shutil.copytree(folder / MODEL / "1", models / MODEL / "1")
    flags = ["--grpc_max_threads=64", *BATCHING, "--file_system_poll_wait_seconds=0.2"]
    flags += ["--allow_version_labels_for_unavailable_models", "--version-policy=latest:2"]
    with serving(folder, *flags, models=models) as server:
        drive(server.address, folder / "single.txt", 16, 3)
        marks = []
        swapping = threading.Thread(target=_swap, args=(server.address, folder, models, options.seconds, marks))
        swapping.start()
        times, statuses = drive(server.address, folder / "single.txt", 16, options.seconds)
        swapping.join()
        near = [value for at, value in times if any(0 <= at - mark <= 2 for mark in marks)]
        far = [value for at, value in times if not any(0 <= at - mark <= 3 for mark in marks)]
        show(f"{len(marks)} changes under 16 clients", times, statuses, options.seconds)
        print(f"  p99 within 2 s of a change {quantile(near, 0.99):.1f} ms, else {quantile(far, 0.99):.1f} ms")


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
        drive(server.address, folder / "mixed.txt", 8, 20)
        first = server.memory
        step = max(5.0, options.soak / 10)
        for _ in range(max(1, round(options.soak / step))):
            result = drive(server.address, folder / "mixed.txt", 8, step)
            show(f"{server.memory:.0f} MB", *result, step)
        print(f"  memory {first:.0f} MB after the first 20 s, {server.memory:.0f} MB at the end")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=[step.__name__ for step in STEPS])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--soak", type=float, default=1800, help="seconds of soak")
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
    write_requests(options.folder / "mixed.txt", mixed_lengths(texts))
    for step in STEPS:
        if step.__name__ in options.what:
            print(step.__name__, flush=True)
            step(options.folder, options)


STEPS = (batching, tokens, overhead, rollout, overload, fuzz, soak)

if __name__ == "__main__":
    main()
