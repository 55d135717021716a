"""Requests and answers of Classify, Regress, MultiInference and of reloading a server's models: pure functions."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tfllm.client.calls import Target, fill_spec, serialized
from tfllm.errors import ConfigError, InvalidInput, ServerError
from tfllm.wire import examples, messages
from tfllm.wire.examples import Classes, Features

Kind = Literal["classify", "regress"]

_METHOD = "tensorflow/serving/"


@dataclass(frozen=True)
class ServedModel:
    """One model of a server's model list, for `Client.reload_config`.

    Attributes:
        name: the name to serve it under.
        base_path: the folder of its versions, as the server sees it; absolute.
        versions: `"latest"`, `"latest:N"`, `"all"`, or the version numbers to serve.
        labels: version label -> version number.
        platform: TensorFlow Serving's name of the kind of model.

    Raises:
        ConfigError: `versions` is none of these.

    Example:
        >>> ServedModel("reviews", "/models/reviews", versions="latest:2", labels={"stable": 3}).name
        'reviews'
    """

    name: str
    base_path: str
    versions: str | Iterable[int] = "latest"
    labels: Mapping[str, int] = field(default_factory=dict)
    platform: str = "tensorflow"

    def __post_init__(self) -> None:
        if isinstance(self.versions, str):
            kind, _, count = self.versions.partition(":")
            if not (self.versions == "all" or kind == "latest" and (count.isdecimal() or kind == self.versions)):
                raise ConfigError(
                    "Expected 'latest', 'latest:N', 'all' or a list of version numbers. "
                    f"Received: versions={self.versions!r}."
                )


def examples_request(kind: Kind, target: Target, rows: Iterable[Features], context: Features | None) -> bytes:
    """Return a Classify or a Regress request.

    Raises:
        InvalidInput: a row is no `tf.Example`.
    """
    request = messages.ClassificationRequest() if kind == "classify" else messages.RegressionRequest()
    fill_spec(request.model_spec, target)
    examples.fill_input(request.input, rows, context)
    return serialized(request)


def multi_request(
    target: Target, rows: Iterable[Features], kinds: Mapping[str, Kind], context: Features | None
) -> bytes:
    """Return a MultiInference request for several signatures.

    Raises:
        InvalidInput: a row is no `tf.Example`, or there is no signature, or one is asked for something else.
    """
    if not kinds or not isinstance(kinds, Mapping) or not set(kinds.values()) <= {"classify", "regress"}:
        raise InvalidInput(f"Expected signature -> 'classify' or 'regress', at least one. Received: {kinds!r}.")
    request = messages.MultiInferenceRequest()
    for signature, kind in kinds.items():
        task = request.tasks.add(method_name=_METHOD + kind)
        fill_spec(task.model_spec, replace(target, signature=signature))
    examples.fill_input(request.input, rows, context)
    return serialized(request)


def classes_of(response: bytes) -> list[Classes]:
    """Return the classes of each row of a Classify response."""
    return examples.classes_of(messages.ClassificationResponse.FromString(response).result)


def values_of(response: bytes) -> list[float]:
    """Return the value of each row of a Regress response."""
    return examples.values_of(messages.RegressionResponse.FromString(response).result)


def answers_of(response: bytes, kinds: Mapping[str, Kind]) -> dict[str, list[Classes] | list[float]]:
    """Return the answers of a MultiInference response, by signature.

    Raises:
        ServerError: there is not one answer a signature.
    """
    results = messages.MultiInferenceResponse.FromString(response).results
    if len(results) != len(kinds):
        raise ServerError(f"Expected one answer a signature. Received: {len(results)} for {len(kinds)} signatures.")
    return {
        signature: examples.classes_of(result.classification_result)
        if kind == "classify"
        else examples.values_of(result.regression_result)
        for (signature, kind), result in zip(kinds.items(), results, strict=True)
    }


def reload_request(models: Iterable[ServedModel]) -> bytes:
    """Return the request that replaces a server's list of models."""
    request = messages.ReloadConfigRequest()
    configs = request.config.model_config_list
    configs.SetInParent()
    for model in models:
        entry = configs.config.add(name=model.name, base_path=model.base_path, model_platform=model.platform)
        entry.version_labels.update(model.labels)
        _fill_policy(entry.model_version_policy, model.versions)
    return serialized(request)


def _fill_policy(policy: Any, versions: str | Iterable[int]) -> None:
    """Write the choice of versions; nothing for `"latest"`, which is TensorFlow Serving's own."""
    if not isinstance(versions, str):
        policy.specific.versions.extend(versions)
    elif versions == "all":
        policy.all.SetInParent()
    elif versions != "latest":
        policy.latest.num_versions = int(versions.partition(":")[2])
