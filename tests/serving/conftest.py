from pathlib import Path

import pytest
import serving_models
import yaml
from deployment_files import SERVING


@pytest.fixture(scope="session")
def serving():
    """The folder of the deployment files."""
    return SERVING


@pytest.fixture(scope="session")
def load():
    """Return what parses the YAML documents of a file or text; a name that is there twice is an error."""

    class Strict(yaml.SafeLoader):
        def construct_mapping(self, node, deep=False):
            self.flatten_mapping(node)
            names = [self.construct_object(key, deep=True) for key, _ in node.value]
            assert len(names) == len(set(names)), f"{names} in line {node.start_mark.line + 1}"
            return super().construct_mapping(node, deep)

    def documents(source):
        text = source.read_text("utf-8") if isinstance(source, Path) else source
        return [document for document in yaml.load_all(text, Strict) if document is not None]

    return documents


@pytest.fixture(scope="session")
def toy_models(tmp_path_factory):
    """Return a folder with `toy`, versions 1 and 2, and a model config file with labels."""
    folder = tmp_path_factory.mktemp("toy_models")
    for version, shift in ((1, 1.0), (2, 100.0)):
        serving_models.write_toy(folder, version, shift)
    return folder


@pytest.fixture(scope="session")
def toy_server(toy_models):
    from tfllm.server.server import serve

    with serve(toy_models, port=0, rest_api_port=0) as running:
        yield running


@pytest.fixture(scope="session")
def model_server_flags(tmp_path_factory):
    """The flags that `tfllm models config` advises for the paths of the images."""
    from tfllm.server.config_writing import BatchingSettings, write_configs

    root = tmp_path_factory.mktemp("models")
    (root / "support_requests" / "1").mkdir(parents=True)
    (root / "support_requests" / "1" / "saved_model.pb").write_bytes(b"")
    written = write_configs(
        root,
        tmp_path_factory.mktemp("config"),
        base_path="/models",
        config_path="/config",
        labels={"support_requests": {"stable": 1}},
        batching=BatchingSettings(num_batch_threads=2),
    )
    return written
