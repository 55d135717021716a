"""Whatever is sent is answered or refused, and never a failure of the server."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfllm.server.observers import RequestEvent
from tfllm.server.rest_api import RestApi

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=4)
    | st.just({"b64": "YQ=="})
    | st.just({"b64": "?"}),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["x", "a", "b", "text", "m", "flag", "b64", "é"]), inner, max_size=3)
    ),
    max_leaves=8,
)
SIGNATURES = ["", "pair", "text", "blob", "rows", "kinds", "scalar", "classify", "regress", "labels_only", "nope"]
BODIES = st.fixed_dictionaries(
    {"signature_name": st.sampled_from(SIGNATURES)},
    optional={key: st.lists(VALUES, max_size=4) | VALUES for key in ("instances", "inputs", "examples", "context")},
)
few = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def api(server):
    return RestApi(server._engine, lambda: True)


@few
@given(st.sampled_from(["toy", "classic"]), st.sampled_from(["predict", "classify", "regress"]), BODIES)
def test_any_json(api, model, verb, body):
    answer = api.answer("POST", f"/v1/models/{model}:{verb}", json.dumps(body).encode(), RequestEvent("", "REST"))
    assert answer.status in (200, 400, 501), answer
    json.loads(answer.body)


@few
@given(st.sampled_from(["GET", "POST", "HEAD"]), st.text(max_size=20), st.binary(max_size=20))
def test_any_path_and_bytes(api, method, path, body):
    for place in (f"/v1/models/{path}", f"/v1/models/toy/{path}", f"/v1/{path}"):
        assert api.answer(method, place, body, RequestEvent("", "REST")).status in (200, 400, 404)
