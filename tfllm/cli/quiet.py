"""Import TensorFlow without the lines that it writes to standard error before its log level counts."""

import importlib.util
import os
import sys
import tempfile


def import_tensorflow(extra: str = "train") -> None:
    """Import TensorFlow quietly; if that fails, what it wrote is shown and the error goes on.

    Args:
        extra: the extra that brings what the verb needs.

    Raises:
        ImportError: TensorFlow is not installed; the message says how to get it.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ImportError(
            f"This needs TensorFlow, which is not installed. Install it with: pip install 'tfllm[{extra}]'"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if extra == "train":  # makes training faster and serving slower where TensorFlow leaves it off by itself
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as written:
        os.dup2(written.fileno(), 2)  # the lines come from C++, past sys.stderr
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            written.seek(0)
            os.write(kept, written.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
