"""Waiting for a version, and what is said when it does not come."""

import pytest
import serving_models

from tfllm.client.client import Client
from tfllm.client.inference import ServedModel
from tfllm.client.mock import MockTransport
from tfllm.errors import ConfigError, Timeout
from tfllm.server.server import serve
from tfllm.wire import messages


class States(MockTransport):
    """Says what the states of the versions are, and what it is asked for."""

    def __init__(self, *states):
        super().__init__(lambda inputs: inputs)
        self.states = list(states)

    def call(self, method, request, timeout):
        if method != messages.GET_MODEL_STATUS:
            return super().call(method, request, timeout)
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        response = messages.GetModelStatusResponse()
        row = response.model_version_status.add(version=3, state=messages.STATES[state])
        if state == "END":
            row.status.error_code, row.status.error_message = 5, "no saved_model.pb"
        return response.SerializeToString()


def client_of(transport, **options):
    return Client("a:1", model="m", transport=transport, **options)


def test_the_error_has_the_states_that_were_seen_last():
    with pytest.raises(Timeout, match="0.3 s passed.* version 3 END .NOT_FOUND: no saved_model.pb") as caught:
        client_of(States("LOADING", "END")).wait_until_ready(0.3)
    assert (caught.value.model, caught.value.address) == ("m", "a:1")
    client_of(States("START", "LOADING", "AVAILABLE")).wait_until_ready(60)
    with pytest.raises(Timeout, match="Seen last: version 3 AVAILABLE"):
        client_of(States("AVAILABLE"), version=4).wait_until_ready(0.3)


def test_the_error_has_what_the_server_said_last(server, kind):
    with kind(server.address, model="nowhere") as client, pytest.raises(Timeout, match="Seen last:.*NOT_FOUND"):
        client.wait_until_ready(1.0)
    with kind("127.0.0.1:1", model="m") as client, pytest.raises(Timeout, match="Seen last: No server.*UNAVAILABLE"):
        client.wait_until_ready(4.0)


@pytest.mark.parametrize("timeout", [float("inf"), float("nan")])
def test_seconds_that_are_none(timeout):
    with pytest.raises(ConfigError, match="Expected the seconds to wait"):
        client_of(States("AVAILABLE")).wait_until_ready(timeout)


def test_a_label_is_waited_for(tmp_path, kind):
    for version in (1, 2):
        serving_models.write_toy(tmp_path, version, float(version))
    with serve(tmp_path, port=0, version_policy="all") as server:
        with kind(server.address, model="toy", label="stable") as client:
            with pytest.raises(Timeout, match="Seen last: Unrecognized servable version label: stable"):
                client.wait_until_ready(0.5)
            served = ServedModel("toy", str(tmp_path / "toy"), versions="all", labels={"stable": 1})
            client.reload_config([served])
            client.wait_until_ready(60)
            assert client.metadata().version == 1


def test_a_mock_has_no_labels():
    client_of(MockTransport(lambda inputs: inputs), label="stable").wait_until_ready(60)
