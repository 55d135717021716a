import ctypes

import psutil
import pytest

from tfllm.server import memory

PIECE, PIECES = 100_000, 2000  # below the size from which the C library maps memory piece by piece


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="The C library is not glibc.")
def test_gives_back_what_was_freed():
    library = ctypes.CDLL(None)
    library.malloc.restype, library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    pieces = [library.malloc(ctypes.c_size_t(PIECE)) for _ in range(PIECES)]
    for piece in pieces:
        ctypes.memset(piece, 1, PIECE)
    last = pieces.pop()  # keeps the rest from going back by itself
    for piece in pieces:
        library.free(piece)
    held = psutil.Process().memory_info().rss
    memory.give_back()
    assert held - psutil.Process().memory_info().rss > 0.9 * PIECE * PIECES
    library.free(last)
