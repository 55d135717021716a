"""The settings of published embedders: by name, or as sentence-transformers writes them in a folder."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfllm.errors import CorruptWeights, PresetError
from tfllm.presets import packaged_folder
from tfllm.tasks.heads import POOLINGS

_LEGACY = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_max_tokens": "max"}
_ACTIVATIONS = {
    "Identity": "linear", "Tanh": "tanh", "ReLU": "relu", "GELU": "gelu", "SiLU": "silu", "Sigmoid": "sigmoid"
}  # fmt: skip
_BGE = {"pooling": "cls", "max_length": 512}
_BGE_QUERY = "Represent this sentence for searching relevant passages: "  # Xiao et al., 2023, "C-Pack", released models
_PUBLISHED: dict[str, dict[str, Any]] = {
    "all_minilm_l6_v2_en": {"max_length": 256},
    **{f"bge_{size}_en": {**_BGE, "query_prefix": _BGE_QUERY} for size in ("small", "base", "large")},
    **{f"bge_{size}_v1.5_en": {**_BGE, "query_prefix": _BGE_QUERY} for size in ("small", "base", "large")},
}


@dataclass(frozen=True)
class PublishedSettings:
    """What the makers of an embedder say of it.

    Attributes:
        encoder: the preset of its encoder.
        max_length: the most tokens of a text, or None.
        head: the arguments of `TextEmbedder` that it sets.
        projection_weights: kernel, and bias where there is one, of each dense layer, `(in, out)` and `(out,)`.
    """

    encoder: str | os.PathLike[str]
    max_length: int | None
    head: dict[str, Any]
    projection_weights: list[list[np.ndarray]] = field(default_factory=list)


def published_settings(preset: str | os.PathLike[str]) -> PublishedSettings:
    """Return the settings of a preset; none where it is no embedder that is known.

    Args:
        preset: a preset name, or a folder. A folder with `modules.json` is read as sentence-transformers does: pooling,
            dense layers, normalisation, longest text, and the prompts `query` and `document` (or `passage`).

    Raises:
        PresetError: the folder uses a module, a pooling or an activation that tfllm does not have.
        CorruptWeights: a file of it is missing or cannot be read.
    """
    folder = packaged_folder(os.fspath(preset)) or Path(preset)
    if (folder / "modules.json").is_file():
        return _read_folder(folder, preset)
    head = dict(_PUBLISHED.get(os.fspath(preset), {}))
    return PublishedSettings(preset, head.pop("max_length", None), head)


def _read_folder(folder: Path, preset: str | os.PathLike[str]) -> PublishedSettings:
    modules = [(entry["type"].rpartition(".")[2], folder / entry["path"]) for entry in _read(folder / "modules.json")]
    kinds = [kind for kind, _ in modules]
    dense = [path for kind, path in modules if kind == "Dense"]
    if kinds not in (expected := ["Transformer", "Pooling", *["Dense"] * len(dense)], [*expected, "Normalize"]):
        raise PresetError(
            f"Expected the modules Transformer, Pooling, Dense (any number) and Normalize in '{folder}', in this "
            f"order. Received: {', '.join(kinds)}. Other modules cannot be loaded."
        )
    encoder = modules[0][1]
    head = {"pooling": _pooling(modules[1][1]), "normalize": kinds[-1] == "Normalize", **_prompts(folder)}
    if dense:
        head["projection"] = [_dense_layer(path) for path in dense]
    source = preset if encoder == folder else encoder
    return PublishedSettings(source, _max_length(encoder), head, [_dense_weights(path) for path in dense])


def _pooling(folder: Path) -> str:
    config = _read(folder / "config.json")
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [_LEGACY.get(name, name) for name, on in config.items() if name.startswith("pooling_mode_") and on]
    modes = [modes] if isinstance(modes, str) else list(modes)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise PresetError(f"Expected one of the poolings {', '.join(POOLINGS)} in '{folder}'. Received: {modes}.")
    if not config.get("include_prompt", True):
        raise PresetError(
            f"Expected pooling over prompt and text in '{folder}'. Received: include_prompt=false, which leaves the "
            "prompt out."
        )
    return modes[0]


def _prompts(folder: Path) -> dict[str, str]:
    file = folder / "config_sentence_transformers.json"
    config = _read(file) if file.is_file() else {}
    prompts = {name: text or "" for name, text in (config.get("prompts") or {}).items()}
    default = prompts.get(config.get("default_prompt_name") or "", "")
    document = prompts.get("document") or prompts.get("passage") or default
    return {"query_prefix": prompts.get("query") or default, "document_prefix": document}


def _max_length(encoder: Path) -> int | None:
    """Return the longest text; newer folders have it with the tokenizer only."""
    for name, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        config = _read(encoder / name) if (encoder / name).is_file() else {}
        if config.get(key):
            return int(config[key])
    return None


def _dense_layer(folder: Path) -> dict[str, Any]:
    config = _read(folder / "config.json")
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh").rpartition(".")[2]
    if activation not in _ACTIVATIONS:
        raise PresetError(
            f"Expected one of the activations {', '.join(_ACTIVATIONS)} in '{folder}'. Received: {activation}."
        )
    units, bias = int(config["out_features"]), bool(config.get("bias", True))
    return {"units": units, "activation": _ACTIVATIONS[activation], "use_bias": bias}


def _dense_weights(folder: Path) -> list[np.ndarray]:
    import safetensors.numpy

    file = folder / "model.safetensors"
    if not file.is_file():
        raise CorruptWeights(f"Expected the weights of a dense layer at '{file}'. Received: no such file.")
    weights = safetensors.numpy.load_file(file)
    kernel = weights["linear.weight"].T  # (in, out)
    return [kernel, weights["linear.bias"]] if "linear.bias" in weights else [kernel]


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptWeights(f"Expected a settings file at '{file}'. Received: {error}.") from error
