"""Classify, Regress, MultiInference and reloading, against a real server of a TensorFlow 1 model."""

from dataclasses import replace

import numpy as np
import pytest
import serving_models

from tfllm.client.inference import ServedModel, answers_of, reload_request
from tfllm.errors import ConfigError, FailedPrecondition, InvalidInput, ModelNotFound, ServerError
from tfllm.server.server import serve
from tfllm.wire import messages


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    serving_models.write_all(folder)
    return folder


@pytest.fixture(scope="module")
def classic(folder, kind):
    with serve(folder, port=0) as server, kind(server.address, model="classic") as client:
        yield client


def test_classify(classic):
    found = classic.classify([{"x": 1.0}, {"x": np.float32([2])}], signature="classify")
    assert found == [[("no", 3.0), ("yes", -3.0)], [("no", 6.0), ("yes", -6.0)]]
    assert classic.classify([{"x": 1.0}], "labels_only") == [[("no", 0.0), ("yes", 0.0)]]


def test_regress(classic):
    assert classic.regress([{"x": 1.0}, {"x": 2.5}], "regress") == [3.0, 7.5]


def test_a_context_is_joined_to_each_row(classic):
    assert classic.regress([{}, {}], "regress", context={"x": 2.0}) == [6.0, 6.0]


def test_multi_inference(classic):
    found = classic.multi_inference([{"x": 1.0}, {"x": 2.0}], {"regress": "regress", "classify": "classify"})
    assert found == {
        "regress": [3.0, 6.0],
        "classify": [[("no", 3.0), ("yes", -3.0)], [("no", 6.0), ("yes", -6.0)]],
    }


def test_plain_predict_of_a_tensorflow_1_model(classic):
    assert classic.predict_arrays({"x": np.float32([[1], [2]])})["y"].tolist() == [[3.0], [6.0]]


def test_errors_are_explained(classic):
    with pytest.raises(InvalidInput, match="has no signature 'clasify'. Did you mean 'classify'"):
        classic.classify([{"x": 1.0}], "clasify")
    with pytest.raises(InvalidInput, match="Input is empty"):
        classic.classify([], "classify")
    with pytest.raises(InvalidInput, match="at least one"):
        classic.multi_inference([{"x": 1.0}], {})
    with pytest.raises(InvalidInput, match="'predict'"):
        classic.multi_inference([{"x": 1.0}], {"regress": "predict"})


def test_reload_replaces_the_models(folder, kind):
    with serve(folder, port=0) as server, kind(server.address, model="toy", timeout=60.0) as client:
        assert client.predict_arrays({"x": np.float32([2])})["y"].tolist() == [101.0]
        both = ServedModel("toy", str(folder / "toy"), versions=[1, 2])
        with pytest.raises(FailedPrecondition, match="not currently available"):
            client.reload_config([replace(both, labels={"stable": 1})])  # a label is for what is loaded
        client.reload_config([both])
        client.reload_config([replace(both, labels={"stable": 1})])
        assert sorted(row.version for row in client.status() if row.state == "AVAILABLE") == [1, 2]
        with kind(server.address, model="toy", label="stable") as stable:
            assert stable.predict_arrays({"x": np.float32([2])})["y"].tolist() == [2.0]
        with kind(server.address, model="classic") as gone, pytest.raises(ModelNotFound):
            gone.predict_arrays({"x": [[1.0]]})
        with pytest.raises((InvalidInput, FailedPrecondition)):
            client.reload_config([ServedModel("toy", "relative/path")])


@pytest.mark.parametrize("versions", ["newest", "latest:", "latest:x", "specific:1", "all:1"])
def test_versions_that_mean_nothing(versions):
    with pytest.raises(ConfigError, match="latest:N"):
        ServedModel("toy", "/m/toy", versions=versions)


@pytest.mark.parametrize(
    ("versions", "field", "count"),
    [("latest", None, 0), ("latest:3", "latest", 3), ("all", "all", 0), ([4], "specific", 0)],
)
def test_the_policy_of_a_reload(versions, field, count):
    request = messages.ReloadConfigRequest.FromString(reload_request([ServedModel("a", "/a", versions)]))
    (model,) = request.config.model_config_list.config
    assert model.model_version_policy.WhichOneof("policy_choice") == field
    assert model.model_version_policy.latest.num_versions == count
    assert (model.name, model.base_path, model.model_platform) == ("a", "/a", "tensorflow")


def test_an_answer_that_does_not_fit_the_question():
    with pytest.raises(ServerError, match="0 for 1 signatures"):
        answers_of(b"", {"regress": "regress"})
