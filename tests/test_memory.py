import ctypes
import os
import resource
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


def pages_of_each_time() -> list[int]:
    """Ask for a large piece of memory several times; return how many pages the kernel gave for each."""
    found = []
    for _ in range(TIMES):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        piece = LIBRARY.malloc(LARGE)
        ctypes.memset(piece, 1, LARGE)
        LIBRARY.free(piece)
        found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return found


def test_what_is_freed_is_kept_for_the_next_time_and_given_back_at_the_end():
    pages = LARGE // resource.getpagesize()
    before = psutil.Process().memory_info().rss
    with memory.kept_memory():
        first, *later = pages_of_each_time()
        held = psutil.Process().memory_info().rss - before
    assert first > 0.9 * pages > 10 * max(later)
    assert held > 0.9 * LARGE
    assert psutil.Process().memory_info().rss - before < 0.1 * LARGE
    assert min(pages_of_each_time()) > 0.9 * pages


def test_the_environment_has_the_last_word():
    program = (
        "import tests.test_memory as t\nwith t.memory.kept_memory(): print(min(t.pages_of_each_time()[1:]) > 10_000)"
    )
    for setting in ({"MALLOC_TRIM_THRESHOLD_": "131072"}, {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"}):
        options = {"env": {**os.environ, **setting}, "cwd": PROJECT, "capture_output": True, "text": True}
        done = subprocess.run([sys.executable, "-c", program], check=True, **options)
        assert done.stdout.strip() == "True"
