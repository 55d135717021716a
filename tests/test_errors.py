import pickle

import pytest

from tfllm import errors
from tfllm.errors import CallError, TfllmError, call_error, choices_hint

STATUSES = {
    "InvalidInput": ("INVALID_ARGUMENT", 400),
    "FailedPrecondition": ("FAILED_PRECONDITION", 400),
    "Unauthenticated": ("UNAUTHENTICATED", 401),
    "PermissionDenied": ("PERMISSION_DENIED", 403),
    "ModelNotFound": ("NOT_FOUND", 404),
    "Overloaded": ("RESOURCE_EXHAUSTED", 429),
    "Cancelled": ("CANCELLED", 499),
    "ServerError": ("INTERNAL", 500),
    "Unimplemented": ("UNIMPLEMENTED", 501),
    "ServerUnavailable": ("UNAVAILABLE", 503),
    "Timeout": ("DEADLINE_EXCEEDED", 504),
}


def all_errors(base=TfllmError):
    return [base, *(error for child in base.__subclasses__() for error in all_errors(child))]


def test_every_call_error_has_its_own_status():
    assert {error.__name__: (error.code, error.http_status) for error in CallError.__subclasses__()} == STATUSES


@pytest.mark.parametrize("name", STATUSES)
def test_call_error_gives_the_class_of_a_status(name):
    code, http_status = STATUSES[name]
    error = call_error(code, "no", model="reviews", address="localhost:8500", hint="Try again.")
    assert type(error) is getattr(errors, name)
    assert (error.code, error.http_status, error.details) == (code, http_status, "no")
    assert str(error) == f"no [{code}: model 'reviews' at localhost:8500] Try again."


def test_a_status_without_a_class_keeps_its_name():
    error = call_error("DATA_LOSS", "gone")
    assert type(error) is CallError
    assert (error.code, error.http_status) == ("DATA_LOSS", 500)
    assert str(error) == "gone [DATA_LOSS]"


@pytest.mark.parametrize(
    ("where", "shown"),
    [({}, ""), ({"model": "m"}, ": model 'm'"), ({"address": "host:1"}, ": host:1")],
)
def test_a_call_error_says_where_it_happened(where, shown):
    assert str(errors.Timeout("late", **where)) == f"late [DEADLINE_EXCEEDED{shown}]"


@pytest.mark.parametrize("code", ["NOT_FOUND", "DATA_LOSS"])
def test_a_call_error_survives_pickle(code):
    error = call_error(code, "no", model="m", address="host:1", hint="Look.")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), vars(copy)) == (str(error), vars(error))


def test_every_error_is_drawn_in_the_tree():
    drawn = errors.__doc__
    for error in all_errors():
        in_call_branch = issubclass(error, CallError) and error is not CallError
        assert in_call_branch or error.__name__ in drawn, error
        assert error.__doc__ and error.__doc__.splitlines()[0].endswith("."), error


@pytest.mark.parametrize("error", [errors.ConfigError, errors.DataError, errors.UnknownSetting, errors.BadRow])
def test_wrong_values_are_value_errors(error):
    with pytest.raises(ValueError, match="message"):
        raise error("message")


@pytest.mark.parametrize(
    ("received", "choices", "hint"),
    [
        ("lable", ["text", "label"], "Did you mean 'label'? Available: 'text', 'label'."),
        ("LABEL", ["text", "label"], "Did you mean 'label'? Available: 'text', 'label'."),
        ("xyz", ["text", "label"], "Available: 'text', 'label'."),
        ("a", [], "Available: none."),
        ("5", [4, 5], "Did you mean '5'? Available: '4', '5'."),
    ],
)
def test_choices_hint(received, choices, hint):
    assert choices_hint(received, choices) == hint


def test_choices_hint_of_two_names_that_differ_by_case():
    assert choices_hint("text", ["Text", "TEXT"]).startswith("Did you mean 'Text' or 'TEXT'?")


def test_choices_hint_stays_short_and_still_finds_the_close_match():
    hint = choices_hint("label_99x", [f"label_{number}" for number in range(1000)])
    assert "Did you mean 'label_99" in hint
    assert hint.endswith("'label_29' and 970 more.")
