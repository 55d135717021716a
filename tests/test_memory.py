import ctypes
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tfllm import memory

PIECE, PIECES = 100_000, 2000  # below the size from which the C library maps memory piece by piece
PROJECT = Path(__file__).parent.parent
LARGE, TIMES = 64 * 2**20, 4
LIBRARY = ctypes.CDLL(None)

pytestmark = pytest.mark.skipif(not hasattr(LIBRARY, "malloc_trim"), reason="The C library is not glibc.")

if hasattr(LIBRARY, "malloc_trim"):
    LIBRARY.malloc.restype, LIBRARY.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    LIBRARY.free.argtypes = [ctypes.c_void_p]


def test_gives_back_what_was_freed():
    pieces = [LIBRARY.malloc(PIECE) for _ in range(PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, PIECE)
    last = pieces.pop()  # keeps the rest from going back by itself
    for piece in pieces:
        LIBRARY.free(piece)
    held = psutil.Process().memory_info().rss
    memory.give_back()
    assert held - psutil.Process().memory_info().rss > 0.9 * PIECE * PIECES
    LIBRARY.free(last)


def held_after() -> float:
    """Ask for a large piece of memory and free it, several times; return the share of it that the process still has."""
    memory.give_back()
    before = psutil.Process().memory_info().rss
    for _ in range(TIMES):
        piece = LIBRARY.malloc(LARGE)
        ctypes.memset(piece, 1, LARGE)
        LIBRARY.free(piece)
    return (psutil.Process().memory_info().rss - before) / LARGE


def test_what_is_freed_is_kept_and_given_back_at_the_end():
    assert held_after() < 0.1
    with memory.kept_memory():
        before = psutil.Process().memory_info().rss
        assert held_after() > 0.9
    assert psutil.Process().memory_info().rss - before < 0.1 * LARGE
    assert held_after() < 0.1


def test_the_end_of_the_last_block_counts():
    with memory.kept_memory():
        with memory.kept_memory():
            assert held_after() > 0.9
        assert held_after() > 0.9
    assert held_after() < 0.1


@pytest.mark.parametrize(
    ("setting", "held"),
    [
        ({"MALLOC_TRIM_THRESHOLD_": "131072"}, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}, False),
        ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}, True),
    ],
)
def test_the_environment_has_the_last_word(setting, held):
    program = "import tests.test_memory as t\nwith t.memory.kept_memory(): print(t.held_after())"
    options = {"env": {**os.environ, **setting}, "cwd": PROJECT, "capture_output": True, "text": True}
    done = subprocess.run([sys.executable, "-c", program], check=True, **options)
    assert (float(done.stdout) > 0.9) is held
