"""Every query of the dashboard, the rules and the autoscaler parses, and asks for metrics that there are."""

import contextlib
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request

import promql_parser
import pytest
import serving_models
import tensorflow as tf
from deployment_files import SERVING
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from tfllm.server.config import ServerConfig
from tfllm.server.config_writing import METRICS_PATH, write_configs
from tfllm.server.server import serve

# The metrics of a real TensorFlow Serving 2.20 that are asked for, with their labels.
TF_SERVING = {
    ":tensorflow:serving:request_count": {"model_name", "status"},
    ":tensorflow:serving:request_latency": {"model_name", "API", "entrypoint"},
    ":tensorflow:serving:runtime_latency": {"model_name", "API", "runtime"},
    ":tensorflow:serving:request_example_counts": {"model"},
    ":tensorflow:serving:request_example_count_total": {"model"},
    ":tensorflow:serving:batching_session:queuing_latency": {"thread_pool_name"},
    ":tensorflow:serving:model_warmup_latency": {"model_path", "status"},
    ":tensorflow:serving:model_warmup_records_read": {"model_path"},
}
TARGET_LABELS = {"instance", "job", "le", "namespace", "pod"}
DASHBOARD = json.loads((SERVING / "grafana" / "dashboards" / "serving.json").read_text("utf-8"))
VARIABLES = {"$__rate_interval": "1m", "$model": "toy", "$instance": "127.0.0.1:1"}


def dashboard_queries():
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield f"{panel['title']}/{target['refId']}", target["expr"]


def rule_queries(load):
    (document,) = load(SERVING / "prometheus" / "rules.yml")
    for group in document["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]


def adapter_queries(load):
    (document,) = load(SERVING / "kubernetes" / "monitoring" / "prometheus-adapter.yaml")
    for rule in document["rules"]["custom"]:
        query = rule["metricsQuery"].replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", 'pod=~"a|b"')
        yield rule["name"]["as"], query
        yield f"{rule['name']['as']} series", rule["seriesQuery"]


@pytest.fixture(scope="module")
def queries(load):
    return {**dict(dashboard_queries()), **dict(rule_queries(load)), **dict(adapter_queries(load))}


@pytest.fixture(scope="module")
def asked(queries, load):
    """Query name -> the (metric, labels that are selected or grouped by) in it."""
    found = {}
    for name, query in queries.items():
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        tree = promql_parser.parse(query)
        labels = {label for group in re.findall(r"(?:by|on) *\(([^)]*)\)", query) for label in re.split(r"\W+", group)}
        found[name] = [
            (selector.name or metric_name(selector), {matcher.name for matcher in matchers(selector)} | labels - {""})
            for selector in selectors(tree)
        ]
    return found


def selectors(node):
    """Yield the vector selectors of a query."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "args", "param", "vector_selector"):
        part = getattr(node, name, None)
        for child in part if isinstance(part, list) else [part]:
            if isinstance(child, promql_parser.Expr):
                yield from selectors(child)


def matchers(selector):
    return [matcher for matcher in selector.matchers.matchers if matcher.name != "__name__"]


def metric_name(selector):
    return next(matcher.value for matcher in selector.matchers.matchers if matcher.name == "__name__")


def test_there_are_queries(asked):
    assert len(asked) > 25
    assert sum(map(len, asked.values())) > 30


def asked_of_servers(asked, load):
    """Yield (query, metric, labels) without what Prometheus makes itself."""
    recorded = {name for name, _ in rule_queries(load)}
    for name, selected in asked.items():
        assert selected, name
        yield from ((name, metric, labels) for metric, labels in selected if metric not in {"up", *recorded})


def test_each_query_asks_for_what_tensorflow_serving_has(asked, load):
    for name, metric, labels in asked_of_servers(asked, load):
        if not metric.startswith("tfllm_"):
            base = metric if metric in TF_SERVING else re.sub("_(bucket|sum|count)$", "", metric)
            assert base in TF_SERVING, f"{name}: {metric}"
            assert labels <= TF_SERVING[base] | TARGET_LABELS, f"{name}: {labels}"


@pytest.fixture(scope="module")
def scraped(tmp_path_factory):
    """Metric -> its labels, as `tfllm serve` gives them with the written configuration, after some requests."""
    root = tmp_path_factory.mktemp("scraped")
    serving_models.write_toy(root / "models", 1, 1.0)
    x = {"x": tf.make_tensor_proto([2.0])}
    spec = model_pb2.ModelSpec(name="toy")
    log = prediction_log_pb2.PredictLog(request=predict_pb2.PredictRequest(model_spec=spec, inputs=x))
    extra = root / "models" / "toy" / "1" / "assets.extra"
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / "tf_serving_warmup_requests")) as writer:
        writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
    files = write_configs(root / "models", root / "config").paths
    config = ServerConfig(
        enable_batching=True,
        batching_parameters_file=str(files["batching.config"]),
        monitoring_config_file=str(files["monitoring.config"]),
    )
    with serve(model_config_file=files["models.config"], port=0, rest_api_port=0, config=config) as server:
        address = f"http://127.0.0.1:{server.rest_api_port}"
        for body in (b'{"instances": [2.0]}', b'{"instances": ["wrong"]}'):
            with contextlib.suppress(urllib.error.HTTPError):
                urllib.request.urlopen(f"{address}/v1/models/toy:predict", body).close()
        with urllib.request.urlopen(address + METRICS_PATH) as response:
            text = response.read().decode()
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels = re.match(r"([\w:]+)(?:\{(.*)\})? ", line).groups()
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels or ""))
    return found


def test_each_query_asks_for_what_the_embedded_server_emits(asked, scraped, load):
    for name, metric, labels in asked_of_servers(asked, load):
        if metric == "tfllm_requests_refused_total":  # none was refused
            continue
        assert metric in scraped, f"{name}: {metric}"
        assert labels - {"instance", "job", "namespace", "pod"} <= scraped[metric], f"{name}: {labels}"


def test_the_dashboard_is_whole():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    assert {item["name"] for item in DASHBOARD["templating"]["list"]} == {"model", "instance"}
    for panel in DASHBOARD["panels"]:
        if panel["type"] != "row":
            assert panel["description"] and panel["title"]
            assert panel["datasource"]["uid"] == "prometheus"
            assert panel["fieldConfig"]["defaults"]["unit"]


def test_the_panels_do_not_lie_over_each_other():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_alerts_say_what_to_do(load):
    (document,) = load(SERVING / "prometheus" / "rules.yml")
    alerts = [rule for group in document["groups"] for rule in group["rules"] if "alert" in rule]
    assert len(alerts) >= 4
    for rule in alerts:
        assert {"summary", "action"} <= rule["annotations"].keys()
        assert rule["labels"]["severity"] in {"page", "ticket", "info"}
        assert rule["for"]


def test_promtool_finds_nothing():
    if shutil.which("promtool") is None:
        pytest.skip("no promtool: it comes with Debian's package prometheus")
    for command in (["check", "config", "prometheus.yml"], ["check", "rules", "rules.yml"]):
        *words, file = command
        path = SERVING / "prometheus" / file
        done = subprocess.run(["promtool", *words, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
