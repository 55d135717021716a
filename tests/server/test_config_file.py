from pathlib import Path

import pytest

from tfllm.errors import ConfigError
from tfllm.server.config_file import read_config_file
from tfllm.server.model_config import ModelConfig, VersionPolicy

PLATFORM = 'model_platform: "tensorflow"'


@pytest.fixture
def read(tmp_path):
    def write_and_read(*configs):
        file = tmp_path / "models.config"
        file.write_text("model_config_list {\n" + "\n".join(f"  config {{ {text} }}" for text in configs) + "\n}\n")
        return read_config_file(file)

    return write_and_read


def test_models_policies_and_labels(read):
    assert read(
        f'name: "a" base_path: "/models/a" {PLATFORM}',
        f'name: "b" base_path: "/models/b" {PLATFORM} model_version_policy {{ all {{}} }}',
        f'name: "c" base_path: "/models/c" {PLATFORM} model_version_policy {{ latest {{ num_versions: 3 }} }}',
        f'name: "d" base_path: "/models/d" {PLATFORM} model_version_policy {{ specific {{ versions: 1 versions: 4 }} }}'
        ' version_labels { key: "stable" value: 1 } version_labels { key: "canary" value: 4 }',
    ) == [
        ModelConfig("a", Path("/models/a")),
        ModelConfig("b", Path("/models/b"), VersionPolicy("all")),
        ModelConfig("c", Path("/models/c"), VersionPolicy(count=3)),
        ModelConfig("d", Path("/models/d"), VersionPolicy("specific", versions=(1, 4)), {"stable": 1, "canary": 4}),
    ]
    assert read() == []


@pytest.mark.parametrize(
    "config, message",
    [
        (f'name: "a" base_path: "a" {PLATFORM}', "Expected model a to have an absolute path or URI; got base_path.*=a"),
        ('name: "a" base_path: "/a"', "Illegal setting neither .*model_type .* nor .*model_platform, model name is a"),
        (f'name: "a" base_path: "/a" {PLATFORM} model_type: TENSORFLOW', "Illegal setting both"),
        ('name: "a" base_path: "/a" model_platform: "onnx"', "model_platform=onnx"),
        ("oops", "Error parsing text-format tensorflow.serving.ModelServerConfig: 2:"),
        ('name: "a" colour: "red"', 'has no field named "colour"'),
    ],
)
def test_what_cannot_be_served(read, config, message):
    with pytest.raises(ConfigError, match=message):
        read(config)


def test_a_name_twice(read):
    config = f'name: "a" base_path: "/a" {PLATFORM}'
    with pytest.raises(ConfigError, match="Illegal to list model a multiple times in config list"):
        read(config, config)


def test_files_that_are_not_there_or_say_nothing(tmp_path):
    with pytest.raises(ConfigError, match="nowhere"):
        read_config_file(tmp_path / "nowhere")
    (tmp_path / "empty").write_text("")
    with pytest.raises(ConfigError, match="model_config_list"):
        read_config_file(tmp_path / "empty")
