"""Memory between the process and the operating system, where the C library is glibc: given back, or kept."""

import contextlib
import ctypes
import os
from collections.abc import Iterator

# Parameters of mallopt(3), and what glibc's own adaptation raises two of them to at most.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_ADAPTED = {_MMAP_MAX: 65_536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}
_KEEPING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1}


def give_back() -> None:
    """Return the memory that the process has freed but kept, where the C library is glibc.

    Loading a model copies its weights several times. What is freed of that stays with the process: of BERT-base in
    float32, 2.5 of 5.9 GB. Giving it back takes some 20 ms for 45 MB of weights, and 200 ms for 440 MB. A thread that
    wants memory meanwhile may wait for most of that.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Let the process keep the memory that it frees while the block runs, and give it back at the end.

    glibc maps large pieces of memory apart and unmaps them once they are free. A training step asks for the same pieces
    again and again, and each time the kernel clears their pages first. What is kept is no more than the block needed at
    its peak. Where the environment sets these parameters of glibc, they stay.

    Example:
        >>> with kept_memory():
        ...     sum(len(bytes(10**7)) for _ in range(3))
        30000000
    """
    set_parameter = None if _is_set_outside() else getattr(ctypes.CDLL(None), "mallopt", None)
    if set_parameter is None:
        yield
        return
    for parameter, value in _KEEPING.items():
        set_parameter(parameter, value)
    try:
        yield
    finally:
        for parameter, value in _ADAPTED.items():
            set_parameter(parameter, value)
        give_back()


def _is_set_outside() -> bool:
    names = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")
    return any(name in os.environ for name in names) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
