"""Memory between the process and the operating system, where the C library is glibc: given back, or kept."""

import contextlib
import ctypes
import os
import threading
from collections.abc import Iterator

# Parameters of mallopt(3), and what glibc's own adaptation raises two of them to at most.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_ADAPTED = {_MMAP_MAX: 65_536, _MMAP_THRESHOLD: 32 * 2**20, _TRIM_THRESHOLD: 64 * 2**20}
_KEEPING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: -1}
_ENVIRONMENT = ("mmap_max", "mmap_threshold", "trim_threshold")

_lock = threading.Lock()
_blocks = 0


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
    again and again, and each time the kernel clears their pages first. Blocks may run within or beside one another; the
    end of the last one counts, and leaves glibc with the thresholds that its own adaptation ends at. Where the
    environment sets one of these parameters of glibc, they stay as they are, and so they do with other C libraries.

    Example:
        >>> with kept_memory():
        ...     sum(len(bytes(10**7)) for _ in range(3))
        30000000
    """
    if _is_set_outside() or not hasattr(ctypes.CDLL(None), "mallopt"):
        yield
        return
    _count(+1)
    try:
        yield
    finally:
        if _count(-1) == 0:
            give_back()


def _count(change: int) -> int:
    """Count the blocks that run; return how many do."""
    global _blocks
    with _lock:
        _blocks += change
        for parameter, value in (_KEEPING if _blocks else _ADAPTED).items():
            ctypes.CDLL(None).mallopt(parameter, value)
        return _blocks


def _is_set_outside() -> bool:
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return any(f"MALLOC_{name.upper()}_" in os.environ or f"glibc.malloc.{name}" in tunables for name in _ENVIRONMENT)
