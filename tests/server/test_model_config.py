from pathlib import Path

import pytest

from tfllm.errors import ConfigError
from tfllm.repository import ModelVersion
from tfllm.server.model_config import VersionPolicy

VERSIONS = [ModelVersion("m", number, Path("m") / str(number)) for number in (1, 2, 10)]


@pytest.mark.parametrize(
    "text, numbers",
    [
        ("latest", [10]),
        ("latest:2", [2, 10]),
        ("latest:9", [1, 2, 10]),
        ("all", [1, 2, 10]),
        ("specific:1,10", [1, 10]),
        ("specific:10, 3", [10]),
    ],
)
def test_policies(text, numbers):
    policy = VersionPolicy.parse(text)
    assert [item.version for item in policy.choose(VERSIONS)] == numbers
    assert policy.choose([]) == []


@pytest.mark.parametrize("text", ["newest", "latest:0", "latest:", "latest:1,2", "specific", "specific:a", "all:2", ""])
def test_what_is_no_policy(text):
    with pytest.raises(ConfigError, match=f"version_policy='{text}'"):
        VersionPolicy.parse(text)
