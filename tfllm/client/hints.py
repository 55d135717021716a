"""What to do about a failed call: the server's own words stay, and a hint follows them."""

import time
from collections.abc import Callable, Hashable, Mapping

from tfllm.client.calls import Target
from tfllm.client.metadata import DEFAULT_SIGNATURE, ModelMetadata, TensorSpec
from tfllm.errors import CallError, FailedPrecondition, InvalidInput, call_error, choices_hint

_HINTS = {
    "Servable not found for request": "Check the name and the version; Client.status() lists the model's versions.",
    "Could not find any versions of model": "Check the model's name.",
    "Unrecognized servable version label": "Check the label, or call a version by its number.",
    "Serving signature key": "Client.metadata() lists the model's signatures.",
    "input size does not match signature": "Client.metadata() lists the inputs; predict_arrays takes any.",
    "Signature input alias": "Client.metadata() lists the inputs; predict_arrays takes any.",
    "output tensor alias not found": "Client.metadata() lists the outputs.",
    "Deadline Exceeded": "No answer came in time; the client's timeout is for the whole call, all its requests.",
}
_FRESH_SECONDS = 30.0  # how long what was looked up for "the newest version" or a label is believed

LOOK_UP_SECONDS = 1.0
"""How long a look-up for a hint may take at most."""


class SignatureCache:
    """The metadata of the versions that were looked up: for ever by number, for 30 s by label or as the newest.

    Args:
        now: returns the seconds of a clock.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._found: dict[Hashable, tuple[float, ModelMetadata]] = {}

    def get(self, target: Target) -> ModelMetadata | None:
        """Return what is known of the target's version."""
        looked_up, found = self._found.get((target.version, target.label), (0.0, None))
        if found is None or (target.version is None and self._now() - looked_up > _FRESH_SECONDS):
            return None
        return found

    def put(self, target: Target, found: ModelMetadata) -> None:
        """Remember what the target's version was said to be."""
        self._found[target.version, target.label] = (self._now(), found)


def explained(error: CallError, target: Target) -> CallError:
    """Return a transport's error with the model's name and, for the server's known messages, what to do."""
    known = (hint for start, hint in _HINTS.items() if error.details.startswith(start))
    hint = " ".join(part for part in (next(known, None), error.hint) if part) or None
    return call_error(error.code, error.details, model=target.model, address=error.address, hint=hint)


def is_mismatch(error: CallError) -> bool:
    """Say whether the model's inputs and outputs would explain the error."""
    return isinstance(error, InvalidInput | FailedPrecondition)


def with_signature(error: CallError, target: Target, found: ModelMetadata, further: str | None = None) -> CallError:
    """Return the error with a hint that names the model's real inputs and outputs, or its signatures.

    Args:
        error: what the server said.
        target: what was called.
        found: what is known of it.
        further: the transport's own hint, such as the request's id; it comes last.
    """
    name = target.signature or DEFAULT_SIGNATURE
    signature = found.signatures.get(name)
    where = f"Version {found.version} of model '{target.model}'"
    if signature is None:
        hint = f"{where} has no signature '{name}'. {choices_hint(name, found.signatures)}"
    else:
        hint = f"{where}, signature '{name}', takes {_shown(signature.inputs)} and gives {_shown(signature.outputs)}."
    hint = " ".join(part for part in (hint, further) if part)
    return call_error(error.code, error.details, model=target.model, address=error.address, hint=hint)


def _shown(specs: Mapping[str, TensorSpec]) -> str:
    return ", ".join(f"{name}: {spec.dtype} {_shape(spec.shape)}" for name, spec in specs.items()) or "nothing"


def _shape(shape: tuple[int | None, ...] | None) -> str:
    if shape is None:
        return "of any shape"
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"
