"""Mixed precision: products in half precision, weights and losses in float32."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf

from tfllm.tasks.base import Task

_CPU_FILE = Path("/proc/cpuinfo")
_CPU_FLAGS = {"avx512_bf16", "amx_bf16"}
_BFLOAT16_CAPABILITY = (8, 0)
_FLOAT16_CAPABILITY = (7, 0)


def choose_precision(name: str, strategy: tf.distribute.Strategy) -> str:
    """Return the name of the dtype policy for a setting.

    "auto" is bfloat16 on a TPU, on GPUs of compute capability 8.0 or more and on processors with bfloat16 products;
    float16 (with loss scaling) on GPUs of 7.0 or more; else float32.

    Example:
        >>> choose_precision("float32", tf.distribute.get_strategy())
        'float32'
    """
    if name != "auto":
        return name
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return "mixed_bfloat16"
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    if gpus:
        return precision_of_gpus([details.get("compute_capability", (0, 0)) for details in gpus])
    return precision_of_processor(processor())


def processor() -> str:
    """Return the text of Linux' `/proc/cpuinfo`; an empty one elsewhere."""
    return _CPU_FILE.read_text("utf-8") if _CPU_FILE.is_file() else ""


def precision_of_gpus(capabilities: list[tuple[int, int]]) -> str:
    """Return the precision that all of these compute capabilities have fast products for.

    Example:
        >>> precision_of_gpus([(8, 0), (7, 5)])
        'mixed_float16'
    """
    least = min(capabilities)
    if least >= _BFLOAT16_CAPABILITY:
        return "mixed_bfloat16"
    return "mixed_float16" if least >= _FLOAT16_CAPABILITY else "float32"


def precision_of_processor(cpu_info: str) -> str:
    """Return the precision that a processor has fast products for, from the text of Linux' `/proc/cpuinfo`.

    Example:
        >>> precision_of_processor("flags : sse avx2")
        'float32'
    """
    return "mixed_bfloat16" if _CPU_FLAGS & _flags(cpu_info) else "float32"


def kernels_advice(cpu_info: str, *, onednn_too_late: bool) -> str | None:
    """Return a line for users whose processor trains at half its speed, since oneDNN's kernels are off; else None.

    Args:
        cpu_info: the text of Linux' `/proc/cpuinfo`.
        onednn_too_late: whether TensorFlow was imported before they could be switched on.

    Example:
        >>> kernels_advice("flags : avx2", onednn_too_late=True)
        'oneDNN is off, so training is slower than it could be: start Python with TF_ENABLE_ONEDNN_OPTS=1.'
    """
    flags = _flags(cpu_info)
    if not onednn_too_late or "avx2" not in flags or "avx512f" in flags:  # with AVX-512 they are on by themselves
        return None
    return "oneDNN is off, so training is slower than it could be: start Python with TF_ENABLE_ONEDNN_OPTS=1."


def _flags(cpu_info: str) -> set[str]:
    return next((set(line.split()) for line in cpu_info.splitlines() if line.startswith("flags")), set())


@contextlib.contextmanager
def encoder_precision(model: Task, policy: str) -> Iterator[None]:
    """Let a task's encoder compute with a dtype policy while the block runs; its head stays as it is.

    Reference:
        Micikevicius et al., 2018, "Mixed precision training".
    """
    layers = [layer for layer in model.backbone._flatten_layers() if not isinstance(layer, keras.layers.InputLayer)]
    before = [layer.dtype_policy for layer in layers]
    if policy != "float32":
        for layer in layers:
            layer.dtype_policy = policy
    try:
        yield
    finally:
        for layer, old in zip(layers, before, strict=True):
            layer.dtype_policy = old
        model.forget_traces()
