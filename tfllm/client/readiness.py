"""Waiting for a server that starts, and for the version that is called."""

import itertools
import math

from tfllm.client.flows import Flow, Pause
from tfllm.client.metadata import VersionStatus
from tfllm.client.session import Session
from tfllm.errors import ConfigError, InvalidInput, ModelNotFound, ServerUnavailable, Timeout, Unimplemented

_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)
_STARTING = (ServerUnavailable, ModelNotFound)  # what a server says while it starts


def wait_until_ready(session: Session, timeout: float) -> Flow[None]:
    """Wait until the server answers and has the version that is called; any version, for the newest.

    Args:
        session: the client's session.
        timeout: the seconds to wait at most.

    Raises:
        ConfigError: the timeout is no number of seconds.
        Timeout: the version was not there in time; the message has what was seen last.
        CallError: the server refuses to say.
    """
    if not math.isfinite(timeout):
        raise ConfigError(f"Expected the seconds to wait at most. Received: timeout={timeout}.")
    deadline, seen = session.deadline(timeout), ""
    for pause in itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1])):
        try:
            statuses = yield from session.status(deadline.remaining())
            seen = f" Seen last: {_shown(statuses)}."
            if (yield from _is_ready(session, statuses, deadline.remaining())):
                return
        except _STARTING as error:
            seen = f" Seen last: {error.details} [{error.code}]."
        except Timeout as error:
            raise Timeout(f"{error.details}{seen}", model=error.model, address=session.address) from error
        yield Pause(deadline.at_most(pause))


def _is_ready(session: Session, statuses: list[VersionStatus], timeout: float | None) -> Flow[bool]:
    """Say whether the version is available that the target names; only the server knows what a label stands for."""
    target = session.target
    version = target.version
    available = {row.version for row in statuses if row.state == "AVAILABLE"}
    if available and target.label is not None:
        try:
            version = (yield from session.metadata(target, timeout)).version
        except InvalidInput as error:  # the label is not there yet
            raise ModelNotFound(error.details, model=error.model, address=error.address) from error
        except Unimplemented:
            return True  # a mock, which has no labels
    return bool(available) if version is None else version in available


def _shown(statuses: list[VersionStatus]) -> str:
    rows = [
        f"version {row.version} {row.state}"
        + (f" ({row.error_code}: {row.error_message})" if row.error_message or row.error_code != "OK" else "")
        for row in statuses
    ]
    return ", ".join(rows) or "no version of the model"
