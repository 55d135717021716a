"""What a signature asks of a request: the checks of TensorFlow Serving, in its order and with its messages."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt

from tfllm.errors import InvalidInput
from tfllm.wire import tensors

Array = npt.NDArray[Any]

DEFAULT_SIGNATURE = "serving_default"

_TENSORFLOW_NAMES = {"float32": "float", "float64": "double", "float16": "half"}


class Signature:
    """One signature of a loaded model.

    Args:
        name: the signature's name.
        definition: its SignatureDef.

    Attributes:
        name: the signature's name.
        definition: its SignatureDef.
        feeds: input alias -> name of the graph's tensor, by alias.
        fetches: output alias -> name of the graph's tensor, by alias.
    """

    def __init__(self, name: str, definition: Any) -> None:
        self.name = name
        self.definition = definition
        self.feeds = {alias: definition.inputs[alias].name for alias in sorted(definition.inputs)}
        self.fetches = {alias: definition.outputs[alias].name for alias in sorted(definition.outputs)}
        self._defaults = dict(definition.defaults)

    def read_inputs(
        self, values: Mapping[str, Any], read: Callable[[Any], Array] = tensors.to_array
    ) -> dict[str, Array]:
        """Return the array of each input.

        Args:
            values: input alias -> value, as the request has it.
            read: turns a value into an array; raises `InvalidInput` if it cannot.

        Raises:
            InvalidInput: an input is missing, unknown or unreadable.
        """
        self._check_names(values)
        arrays = {}
        for alias, feed in self.feeds.items():
            if alias in values:
                arrays[alias] = _read(alias, values[alias], read)
            elif alias in self._defaults:
                arrays[alias] = _read(alias, self._defaults[alias], tensors.to_array)
            else:
                raise InvalidInput(
                    f"Signature input alias: {alias}(feed name: {feed}) not found in request and no default value "
                    f"provided. Inputs expected to be in the request {_set(values)}, or default input alias set: "
                    f"{','.join(sorted(self._defaults))}"
                )
        if unknown := values.keys() - self.feeds.keys():
            used = ",".join(sorted(values.keys() - unknown))
            raise InvalidInput(
                f"Inputs contains invalid name. Used request inputs: {used}, request input: {','.join(sorted(values))}"
            )
        return arrays

    def choose_outputs(self, aliases: Sequence[str]) -> tuple[str, ...]:
        """Return the outputs to answer with, by alias: all if none are named.

        Raises:
            InvalidInput: a name is unknown, or is there twice.
        """
        for position, alias in enumerate(aliases):
            if alias not in self.fetches:
                raise InvalidInput(
                    f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                    f"{_set(self.fetches)}."
                )
            if alias in aliases[:position]:
                raise InvalidInput(f"duplicate output tensor alias: {alias}")
        return tuple(sorted(aliases or self.fetches))

    def check_dtypes(self, arrays: Mapping[str, Array]) -> None:
        """Check each array's dtype against the graph's.

        Raises:
            InvalidInput: one differs; the message counts the graph's tensors by name, as TensorFlow's session does.
        """
        for position, alias in enumerate(sorted(self.feeds, key=lambda alias: self.feeds[alias])):
            expected, received = self.definition.inputs[alias].dtype, tensors.dtype_number(arrays[alias])
            if expected != received:
                raise InvalidInput(
                    f"Expects arg[{position}] to be {dtype_text(expected)} but {dtype_text(received)} is provided"
                )

    def check_texts(self, arrays: Mapping[str, Array]) -> None:
        """Check that texts have as many dimensions as the signature says.

        Other inputs are left to the graph, as in TensorFlow Serving; but operators on text may end the process.

        Raises:
            InvalidInput: some have more or fewer.
        """
        for alias, array in arrays.items():
            shape = self.definition.inputs[alias].tensor_shape
            if array.dtype == object and not shape.unknown_rank and array.ndim != len(shape.dim):
                raise InvalidInput(
                    f"Expected texts with {len(shape.dim)} dimensions for input '{alias}'. "
                    f"Received: {array.ndim} dimensions."
                )

    def _check_names(self, values: Mapping[str, Any]) -> None:
        if len(values) == len(self.feeds):
            return
        extra = values.keys() - self.feeds.keys()
        missing = self.feeds.keys() - values.keys() - self._defaults.keys()
        if extra or missing:
            raise InvalidInput(
                f"input size does not match signature: {len(values)}!={len(self.feeds)} "
                f"len({_set(values)}) != len({_set(self.feeds)}). "
                f"Sent extra: {_set(extra)}. Missing but required: {_set(missing)}."
            )


def _read(alias: str, value: Any, read: Callable[[Any], Array]) -> Array:
    try:
        return read(value)
    except InvalidInput as error:
        raise InvalidInput(f"tensor parsing error: {alias}") from error


def _set(names: Any) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def dtype_text(number: int) -> str:
    """Return TensorFlow's name of a DataType number."""
    name = tensors.dtype_name(number)
    return _TENSORFLOW_NAMES.get(name, name)


def tensorflow_dtype(array: Array) -> str:
    """Return TensorFlow's name of an array's dtype."""
    return dtype_text(tensors.dtype_number(array))
