"""Folders as sentence-transformers writes them, old and new, made here."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tfllm.errors import CorruptWeights, PresetError
from tfllm.tasks.sentence_transformers import published_settings
from tfllm.tasks.text_embedder import TextEmbedder

OLD = "sentence_transformers.models."


def write(file: Path, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content), "utf-8")


def make_folder(folder, modules, pooling, *, length=None, prompts=None):
    paths = {"Transformer": ""}
    listed = [
        {"idx": n, "name": str(n), "path": paths.get(kind, f"{n}_{kind}"), "type": OLD + kind}
        for n, kind in enumerate(modules)
    ]
    write(folder / "modules.json", listed)
    write(folder / "1_Pooling" / "config.json", pooling)
    if length:
        write(folder / "sentence_bert_config.json", {"max_seq_length": length, "do_lower_case": False})
    if prompts:
        write(folder / "config_sentence_transformers.json", prompts)
    return folder


@pytest.fixture
def encoder_folder(tmp_path):
    """A micro encoder with the files of a preset, to which each test adds the settings."""
    folder = tmp_path / "model"
    model = TextEmbedder.from_preset("micro_bert")
    model.backbone.save_to_preset(str(folder))
    model.preprocessor.tokenizer.save_to_preset(str(folder))
    return folder


def add_dense(folder, kernel, bias, activation="torch.nn.modules.activation.Tanh"):
    import safetensors.numpy

    units, size = kernel.shape
    config = {"in_features": size, "out_features": units, "bias": True, "activation_function": activation}
    write(folder / "config.json", config)
    safetensors.numpy.save_file({"linear.weight": kernel, "linear.bias": bias}, folder / "model.safetensors")


def test_a_whole_folder(encoder_folder):
    kernel = np.random.default_rng(0).normal(size=(3, 8)).astype("float32")
    bias = np.arange(3, dtype="float32")
    make_folder(
        encoder_folder,
        ["Transformer", "Pooling", "Dense", "Normalize"],
        {"word_embedding_dimension": 8, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False},
        length=24,
        prompts={"prompts": {"query": "query: ", "passage": "passage: "}, "default_prompt_name": None},
    )
    add_dense(encoder_folder / "2_Dense", kernel, bias)
    model = TextEmbedder.from_preset(encoder_folder)
    assert (model.pooling, model.dim, model.preprocessor.max_length) == ("cls", 3, 24)
    assert (model.query_prefix, model.document_prefix) == ("query: ", "passage: ")
    first = TextEmbedder.from_preset(encoder_folder, projection=None, normalize=False)
    expected = np.tanh(first.encode_text(["good film"]) @ kernel.T + bias)
    np.testing.assert_allclose(model.encode_text(["good film"]), expected / np.linalg.norm(expected), atol=1e-5)


def test_a_new_folder_and_a_default_prompt(encoder_folder):
    make_folder(
        encoder_folder,
        ["Transformer", "Pooling"],
        {"embedding_dimension": 8, "pooling_mode": "max", "include_prompt": True},
        prompts={"prompts": {"sts": "same: "}, "default_prompt_name": "sts"},
    )
    write(encoder_folder / "tokenizer_config.json", {"model_max_length": 32})
    found = published_settings(encoder_folder)
    assert found.max_length == 32
    assert found.head == {
        "pooling": "max", "normalize": False, "query_prefix": "same: ", "document_prefix": "same: "
    }  # fmt: skip


def test_the_encoder_in_a_folder_of_its_own(tmp_path, encoder_folder):
    folder = make_folder(tmp_path / "whole", ["Transformer", "Pooling"], {"pooling_mode": "mean"})
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    write(folder / "modules.json", modules)
    shutil.copytree(encoder_folder, folder / "0_Transformer")
    model = TextEmbedder.from_preset(folder)
    assert not model.normalize and model.preset == str(folder)
    assert TextEmbedder.from_preset(folder, normalize=True, max_length=16).preprocessor.max_length == 16


@pytest.mark.parametrize(
    ("modules", "pooling", "message"),
    [
        (["Transformer", "Pooling", "LSTM"], {"pooling_mode": "mean"}, "Pooling, LSTM"),
        (["Transformer", "Pooling"], {"pooling_mode": "lasttoken"}, "lasttoken"),
        (["Transformer", "Pooling"], {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, "mean"),
        (["Transformer", "Pooling"], {"pooling_mode": "mean", "include_prompt": False}, "include_prompt"),
    ],
)
def test_what_tfllm_does_not_have_is_refused(tmp_path, modules, pooling, message):
    with pytest.raises(PresetError, match=message):
        published_settings(make_folder(tmp_path, modules, pooling))


def test_broken_folders(tmp_path):
    folder = make_folder(tmp_path, ["Transformer", "Pooling", "Dense"], {"pooling_mode": "mean"})
    with pytest.raises(CorruptWeights, match="2_Dense"):
        published_settings(folder)
    add_dense(folder / "2_Dense", np.ones((2, 8), "float32"), np.ones(2, "float32"), "torch.nn.PReLU")
    with pytest.raises(PresetError, match="PReLU"):
        published_settings(folder)
    add_dense(folder / "2_Dense", np.ones((2, 8), "float32"), np.ones(2, "float32"))
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(CorruptWeights, match="dense layer"):
        published_settings(folder)


def test_published_names():
    assert published_settings("bge_small_v1.5_en").head["pooling"] == "cls"
    assert published_settings("micro_bert").head == {}
