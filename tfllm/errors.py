"""The one exception tree of tfllm, the same on both sides of the wire.

    TfllmError
      ConfigError (ValueError)     UnknownSetting
      DataError (ValueError)       MissingColumn, EmptyDataset, BadRow, UnknownLabel, SingleClass
      PresetError                  PresetNotFound, PresetNotCached, CorruptWeights
      TrainingError                ResumeMismatch, NonFiniteLoss, Preempted
      ExportError                  SignatureMismatch, ParityError, IncompatibleServer
      RepositoryError              VersionNotFound
      CallError                    InvalidInput, ModelNotFound, ... one class per gRPC status
      PartialFailure               always a CallError too: of the class of the first request that failed

A message says what was expected, what was received, and what to do next. A `CallError` class carries its gRPC status.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence

_CHOICES_NAMED = 30


class TfllmError(Exception):
    """The base of every error that tfllm raises on purpose."""


class ConfigError(TfllmError, ValueError):
    """A setting is unknown, has a wrong value, or contradicts another."""


class UnknownSetting(ConfigError):
    """A setting of this name does not exist."""


class DataError(TfllmError, ValueError):
    """The data cannot be used as it is."""


class MissingColumn(DataError):
    """The table has no column of this name."""


class EmptyDataset(DataError):
    """There are no rows."""


class BadRow(DataError):
    """One or more rows cannot be used; the message names the file and the line."""


class UnknownLabel(DataError):
    """A label that the model or the training data does not know."""


class SingleClass(DataError):
    """All rows have the same label, so there is nothing to learn."""


class PresetError(TfllmError):
    """A preset cannot be loaded."""


class PresetNotFound(PresetError):
    """No preset has this name, and no folder either."""


class PresetNotCached(PresetError):
    """The weights are not on this machine, and the model hub cannot be reached."""


class CorruptWeights(PresetError):
    """The weights on disk are damaged or are not the published ones."""


class TrainingError(TfllmError):
    """Training cannot start or go on."""


class ResumeMismatch(TrainingError):
    """The run folder belongs to a run with other settings or other data."""


class NonFiniteLoss(TrainingError):
    """The loss became NaN or infinite."""


class Preempted(TrainingError):
    """The process was asked to stop; the run is stored, and the same call goes on with it."""


class ExportError(TfllmError):
    """The model cannot be exported."""


class SignatureMismatch(ExportError):
    """The written SavedModel does not have the signatures that the task declares."""


class ParityError(ExportError):
    """The exported model does not answer as the model in Keras does."""


class IncompatibleServer(ExportError):
    """The chosen server cannot run the model."""


class RepositoryError(TfllmError):
    """A model folder cannot be read or written."""


class VersionNotFound(RepositoryError):
    """The model folder has no such version."""


class CallError(TfllmError):
    """A call to a served model failed.

    Attributes:
        code: the gRPC status name, for example `"NOT_FOUND"`.
        http_status: the HTTP status of the same failure, for example 404.
        details: what the server said, word for word.
        model: the model that was called, if known.
        address: the address that was called, if known.
        hint: what to do about it, if known.
    """

    code = "UNKNOWN"
    http_status = 500

    def __init__(
        self, details: str, *, model: str | None = None, address: str | None = None, hint: str | None = None
    ) -> None:
        self.details = details
        self.model = model
        self.address = address
        self.hint = hint
        super().__init__(details)  # all that pickle gives back to __init__; the attributes travel beside it

    def __str__(self) -> str:
        where = " at ".join(part for part in (self.model and f"model '{self.model}'", self.address) if part)
        return f"{self.details} [{self.code}{': ' + where if where else ''}]{' ' + self.hint if self.hint else ''}"


class InvalidInput(CallError):
    """The request is malformed or does not fit the signature."""

    code = "INVALID_ARGUMENT"
    http_status = 400


class FailedPrecondition(CallError):
    """The request is well-formed, but the model cannot take it (for example an unknown signature)."""

    code = "FAILED_PRECONDITION"
    http_status = 400


class ModelNotFound(CallError):
    """The server has no such model or version."""

    code = "NOT_FOUND"
    http_status = 404


class Unauthenticated(CallError):
    """The caller did not say who it is, or not in a way that holds."""

    code = "UNAUTHENTICATED"
    http_status = 401


class PermissionDenied(CallError):
    """The caller may not use this model."""

    code = "PERMISSION_DENIED"
    http_status = 403


class Overloaded(CallError):
    """The server has no room for the request now, or a message is over the size limit."""

    code = "RESOURCE_EXHAUSTED"
    http_status = 429


class Timeout(CallError):
    """The deadline passed before the answer came."""

    code = "DEADLINE_EXCEEDED"
    http_status = 504


class Cancelled(CallError):
    """The caller gave the call up."""

    code = "CANCELLED"
    http_status = 499


class Unimplemented(CallError):
    """The server does not know this method."""

    code = "UNIMPLEMENTED"
    http_status = 501


class ServerUnavailable(CallError):
    """The server cannot be reached, or is starting or stopping."""

    code = "UNAVAILABLE"
    http_status = 503


class ServerError(CallError):
    """The server failed while it worked on the request."""

    code = "INTERNAL"
    http_status = 500


CALL_ERRORS: dict[str, type[CallError]] = {cls.code: cls for cls in CallError.__subclasses__()}
"""The error class of each gRPC status name."""


def call_error(
    code: str, details: str, *, model: str | None = None, address: str | None = None, hint: str | None = None
) -> CallError:
    """Return the error of a gRPC status name; a status without a class of its own gives a plain `CallError`."""
    error = CALL_ERRORS.get(code, CallError)(details, model=model, address=address, hint=hint)
    error.code = code
    return error


class PartialFailure(TfllmError):
    """Some requests of a long call failed; the error carries the rows that failed and the results of the others.

    It is raised as a class that is also that of the first failure: `except Timeout` catches it too.

    Attributes:
        results: one result a row, in order; `None` for a row that failed. It ends with the last row that was sent.
        failed: the position of each row that failed -> its error.
        not_sent: the position of the first row that was not sent, or not waited for, any more; `None` if there is none.
    """

    results: Sequence[object]
    failed: Mapping[int, CallError]
    not_sent: int | None

    def __reduce__(self) -> tuple[object, ...]:
        return partial_failure, (self.results, self.failed, self.not_sent)


_PARTIAL_CLASSES: dict[type[CallError], type[CallError]] = {}


def _partial_class(kind: type[CallError]) -> type[CallError]:
    if kind not in _PARTIAL_CLASSES:
        members = {"__doc__": f"{kind.__name__}, with the results that there are."}
        _PARTIAL_CLASSES[kind] = type(f"Partial{kind.__name__}", (PartialFailure, kind), members)
    return _PARTIAL_CLASSES[kind]


def partial_failure(
    results: Sequence[object], failed: Mapping[int, CallError], not_sent: int | None = None
) -> CallError:
    """Return the error of a call of which a part failed: a `PartialFailure` of the class of the first failure.

    Example:
        >>> error = partial_failure(["good", None], {1: Timeout("late")})
        >>> isinstance(error, PartialFailure), isinstance(error, Timeout), error.details
        (True, True, '1 row failed (the first is row 1), 1 has its result in .results: late')
    """
    row, first = min(failed.items())
    done = sum(result is not None for result in results)
    details = (
        f"{len(failed)} row{'s' * (len(failed) > 1)} failed (the first is row {row}), "
        f"{done} ha{'ve their results' if done != 1 else 's its result'} in .results"
        f"{f', row {not_sent} and what follows were not sent' if not_sent is not None else ''}: {first.details}"
    )
    error = _partial_class(type(first))(details, model=first.model, address=first.address, hint=first.hint)
    error.code = first.code
    vars(error).update(results=list(results), failed=dict(failed), not_sent=not_sent)
    return error


def choices_hint(received: str, choices: Iterable[str]) -> str:
    """Say which choices there are, the close matches first; of very many choices, the first few.

    Example:
        >>> choices_hint("lable", ["text", "label"])
        "Did you mean 'label'? Available: 'text', 'label'."
    """
    names = [str(choice) for choice in choices]
    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(name.casefold(), []).append(name)
    matches = difflib.get_close_matches(received.casefold(), folded, n=2, cutoff=0.6)
    close = [name for match in matches for name in folded[match]][:2]
    guess = f"Did you mean {' or '.join(repr(name) for name in close)}? " if close else ""
    more = f" and {len(names) - _CHOICES_NAMED} more" if len(names) > _CHOICES_NAMED else ""
    return f"{guess}Available: {', '.join(repr(name) for name in names[:_CHOICES_NAMED]) or 'none'}{more}."
