"""What to serve of a model: its folder, which versions of it, and the labels that name some of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tfllm.errors import ConfigError
from tfllm.repository import ModelVersion


@dataclass(frozen=True)
class VersionPolicy:
    """Which of the versions on disk are served.

    Attributes:
        kind: `"latest"`, `"all"` or `"specific"`.
        count: of `"latest"`, how many.
        versions: of `"specific"`, which.
    """

    kind: str = "latest"
    count: int = 1
    versions: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "VersionPolicy":
        """Return the policy of a text: `latest`, `latest:3`, `all` or `specific:1,4`.

        Raises:
            ConfigError: the text is no policy.
        """
        kind, colon, detail = text.partition(":")
        numbers = tuple(int(part) for part in detail.split(",") if part.strip().isdecimal())
        complete = bool(numbers) and len(numbers) == detail.count(",") + 1
        if kind in ("latest", "all") and not colon:
            return cls(kind)
        if kind == "latest" and complete and len(numbers) == 1 and numbers[0] > 0:
            return cls(kind, count=numbers[0])
        if kind == "specific" and complete:
            return cls(kind, versions=numbers)
        raise ConfigError(
            f"Expected version_policy 'latest', 'latest:N', 'all' or 'specific:N,N'. Received: version_policy={text!r}."
        )

    def choose(self, versions: Sequence[ModelVersion]) -> list[ModelVersion]:
        """Return those of some versions, oldest first, that are served."""
        if self.kind == "all":
            return list(versions)
        if self.kind == "specific":
            return [item for item in versions if item.version in self.versions]
        return list(versions[-self.count :])


@dataclass(frozen=True)
class ModelConfig:
    """One model to serve.

    Attributes:
        name: the name to serve it under.
        base_path: the folder with its versions.
        policy: which versions are served.
        labels: label -> version number.
        follows_labels: whether the labels are those that its folder keeps (`tfllm.repository_labels`), now and later.
            The versions that have one are served whatever the policy.
    """

    name: str
    base_path: Path
    policy: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)
    follows_labels: bool = False
