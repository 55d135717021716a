import pytest

from tfllm.server.observers import RequestEvent
from tfllm.server.page_load import STEP_SECONDS, STEPS, LoadHistory


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def history(clock):
    return LoadHistory(lambda: {"a", "b"}, clock)


def event(model="a", method="Predict", **values):
    return RequestEvent(method, "GRPC", model=model, **values)


def test_requests_errors_and_rows_a_second(history, clock):
    for _ in range(6):
        history.on_request(event(rows=3, seconds=0.01))
    history.on_request(event(status="INVALID_ARGUMENT"))
    history.on_request(event("b", rows=1, seconds=0.5))
    clock.now += STEP_SECONDS
    models = history.describe("ab")["models"]
    assert [len(values) for values in models["a"].values()] == [STEPS] * 7
    assert (models["a"]["requests"][-1], models["a"]["errors"][-1], models["a"]["rows"][-1]) == (3.5, 0.5, 9)
    assert (models[""]["requests"][-1], models["b"]["requests"][-1]) == (4, 0.5)
    assert models["b"]["errors"] == [0] * STEPS


def test_latencies_are_right_to_some_percent(history, clock):
    for number in range(1, 101):
        history.on_request(event(seconds=number / 1000, queue_seconds=0.002, run_seconds=0.005))
    clock.now += STEP_SECONDS
    found = history.describe("ab")["models"]["a"]
    assert found["p50"][-1] == pytest.approx(0.050, rel=0.08)
    assert found["p99"][-1] == pytest.approx(0.099, rel=0.08)
    assert (found["queue"][-1], found["run"][-1]) == (0.002, 0.005)
    assert found["p50"][-2] is None and found["queue"][-2] is None


def test_a_step_under_way_is_left_out_and_old_ones_are_forgotten(history, clock):
    history.on_request(event(seconds=0.01))
    assert history.describe("ab")["models"] == {"": {**history.describe("ab")["models"][""], "requests": [0] * STEPS}}
    clock.now += STEP_SECONDS
    assert history.describe("ab")["models"]["a"]["requests"][-1] == 0.5
    clock.now += STEP_SECONDS * STEPS
    assert "a" not in history.describe("ab")["models"]
    history.on_request(event())
    assert len(history._steps) == 1


def test_made_up_names_take_no_memory(history, clock):
    for number in range(1000):
        history.on_request(event(f"made up {number}", status="NOT_FOUND"))
    clock.now += STEP_SECONDS
    models = history.describe("ab")["models"]
    assert set(models) == {""}
    assert (models[""]["requests"][-1], models[""]["errors"][-1]) == (500, 500)
    assert set(history._steps[int(clock.now // STEP_SECONDS) - 1]) == {""}


def test_who_may_not_see_a_model_does_not_see_its_load(history, clock):
    for name in ("a", "a", "b"):
        history.on_request(event(name))
    clock.now += STEP_SECONDS
    models = history.describe(["b"])["models"]
    assert set(models) == {"", "b"}
    assert models[""]["requests"][-1] == models["b"]["requests"][-1] == 0.5


def test_looks_at_models_are_no_load(history, clock):
    history.on_request(event(method="GetModelStatus"))
    clock.now += STEP_SECONDS
    assert history.describe("ab")["models"][""]["requests"][-1] == 0


def test_odd_durations(history, clock):
    for seconds in (0.0, 1e-12, 1e6):
        history.on_request(event(seconds=seconds))
    clock.now += STEP_SECONDS
    assert history.describe("ab")["models"]["a"]["p99"][-1] == pytest.approx(1e6, rel=0.1)
