"""What `serving_load.py` and `serving_faults.py` measure with.

A model, a server in a process of its own, clients in others, and figures.
"""

import base64
import collections
import contextlib
import csv
import json
import os
import random
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
from tensorflow_serving.apis import predict_pb2

HERE = Path(__file__).parent
MODEL = "load"
COUNT = "max_batch_size { value: 32 } max_enqueued_batches { value: 100 } num_batch_threads { value: 2 }"
BATCHING = ["--enable_batching", "--batching_parameters_file=BATCHING"]


def run_steps(parser, steps):
    """Take the arguments, prepare the model and its requests, and run the steps that were asked for."""
    parser.add_argument("what", nargs="+", choices=[step.__name__ for step in steps])
    parser.add_argument("--folder", type=Path, default=HERE / ".serving")
    parser.add_argument("--preset", default="all_minilm_l6_v2_en")
    parser.add_argument("--texts", type=Path, default=HERE.parent / "examples" / "support_requests.csv")
    options = parser.parse_args()
    _prepare(options)
    for step in steps:
        if step.__name__ in options.what:
            print(step.__name__, flush=True)
            step(options.folder, options)


def _prepare(options):
    """Export the model and write the requests, unless they are there, and add the mixed texts to the options."""
    options.folder.mkdir(parents=True, exist_ok=True)
    options.folder = options.folder.resolve()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    export_model(options.folder, options.preset)
    texts = read_texts(options.texts)
    write_requests(options.folder / "single.txt", texts)
    options.mixed = mixed_lengths(texts)
    write_requests(options.folder / "mixed.txt", options.mixed)


def export_model(folder, preset):
    if not (folder / MODEL / "1").exists():
        from tfllm.exporting.saved_model import export
        from tfllm.tasks.text_classifier import TextClassifier

        export(TextClassifier.from_preset(preset, labels=["bad", "good"]), folder / MODEL)
    (folder / "batching.config").write_text(COUNT)
    (folder / "monitoring.config").write_text("prometheus_config { enable: true }")


def save_padded(folder, preset):
    """Save the same model with the forward pass of Keras, which computes padding as most models do."""
    path = folder / "padded" / MODEL / "1"
    if path.exists():
        return
    import tensorflow as tf

    from tfllm.tasks.text_classifier import TextClassifier

    model = TextClassifier.from_preset(preset, labels=["bad", "good"])
    signature = model.signatures(pairs=False)["serving_default"]
    module = tf.Module()
    module.all = [variable.value for variable in model.variables]
    module.tokenizer = model.preprocessor.graph_tokenizer
    module.run = tf.function(lambda text: signature.function(text=text)).get_concrete_function(**signature.inputs)
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.run})


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


def predict_request(text):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = MODEL
    tensor = request.inputs["text"]
    tensor.dtype = 7
    tensor.tensor_shape.dim.add(size=1)
    tensor.string_val.append(text.encode())
    return request.SerializeToString()


def write_requests(path, texts):
    with open(path, "w", encoding="ascii") as file:
        file.writelines(base64.b64encode(predict_request(text)).decode() + "\n" for text in texts)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server in a process of its own."""

    def __init__(self, folder, *flags, models=None):
        flags = [flag.replace("BATCHING", str(folder / "batching.config")) for flag in flags]
        self.rest_port = free_port()
        self.log = open(folder / "server.log", "ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tfllm", "serve", str(models or folder), "--port=0"]
            + [f"--rest_api_port={self.rest_port}", f"--monitoring_config_file={folder / 'monitoring.config'}", *flags],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        line = self.process.stdout.readline()
        if not line.startswith("Serving"):
            raise SystemExit(f"The server did not start; see {folder / 'server.log'}")
        self.address = re.search(r" on (\S+) ", line).group(1)

    def metrics(self):
        url = f"http://127.0.0.1:{self.rest_port}/monitoring/prometheus/metrics"
        with urllib.request.urlopen(url, timeout=30) as response:
            rows = re.findall(r"^([^#\s]\S*?)(?:\{[^}]*\})? (\S+)$", response.read().decode(), re.M)
        found = collections.Counter()
        for name, value in rows:
            found[name] += float(value)
        return found

    @property
    def memory(self):
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    @property
    def processor_seconds(self):
        spent = psutil.Process(self.process.pid).cpu_times()
        return spent.user + spent.system

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


def drive(address, requests, clients, seconds, pause=0.0):
    """Send requests from so many clients, in up to two processes; each client waits a pause from one to the next."""
    processes = min(2, clients)
    shares = [clients // processes + (number < clients % processes) for number in range(processes)]
    started = [
        subprocess.Popen(
            [sys.executable, HERE / "serving_client.py", address, requests, f"--clients={share}"]
            + [f"--seconds={seconds}", f"--seed={number}", f"--pause={pause}"],
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
