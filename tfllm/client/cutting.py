"""Items cut into requests: as many rows and bytes as one may have, as they are asked for."""

from collections.abc import Iterable, Iterator, Sequence

from tfllm.client.calls import Chunk, Item, Target, Texts, is_pair, text_request, texts_of
from tfllm.errors import InvalidInput


class Cutter:
    """Cuts a stream of items into requests of at most `batch_size` rows and `max_bytes` bytes.

    What cannot be sent becomes a request with an `error` in its place: an item that is too large alone, one that is no
    text with the items of its request. The other requests are sent all the same.

    Args:
        target: what the requests call.
        batch_size: the most rows of a request.
        max_bytes: the most bytes of a request.
        first: the position of the first item.
    """

    def __init__(self, target: Target, batch_size: int, max_bytes: int, first: int = 0) -> None:
        self._target, self._batch_size, self._max_bytes = target, batch_size, max_bytes
        self._pending: list[Item] = []
        self._bytes = 0
        self._first = first

    def push(self, item: Item) -> Iterable[Chunk]:
        """Take one more item, and return the requests that are complete by it."""
        self._pending.append(item)
        self._bytes += _length(item)
        full = len(self._pending) == self._batch_size or self._bytes > self._max_bytes
        return self.flush() if full else ()

    def flush(self) -> Iterable[Chunk]:
        """Return the requests for the items that are left; see `push`."""
        items, first = self._pending, self._first
        self._pending, self._bytes, self._first = [], 0, first + len(items)
        return _requests(self._target, items, first, self._max_bytes) if items else ()


def text_chunks(
    target: Target, items: Iterable[Item], batch_size: int, max_bytes: int, first: int = 0
) -> Iterator[Chunk]:
    """Cut items into requests, as they are asked for; see `Cutter`."""
    cutter = Cutter(target, batch_size, max_bytes, first)
    for item in items:
        yield from cutter.push(item)
    yield from cutter.flush()


def one_request(target: Target, texts: Texts, max_bytes: int) -> bytes | None:
    """Return the one request that is enough for some texts; `None` if they are none, or too many bytes for one.

    Raises:
        InvalidInput: an item is no text.
    """
    rows = texts[target.names[0]]
    if not rows or sum(sum(map(_length, values)) for values in texts.values()) > max_bytes:
        return None
    request = text_request(target, texts)
    return request if len(request) <= max_bytes else None


def _length(item: Item) -> int:
    """Return at most the bytes that an item needs, without encoding it; of what is no text, 0."""
    if isinstance(item, str | bytes):
        return len(item)
    return sum(map(_length, item)) if is_pair(item) else 0


def _requests(target: Target, items: Sequence[Item], first: int, max_bytes: int) -> Iterator[Chunk]:
    """Return the request for some items, cut in halves until each is under `max_bytes`."""
    try:
        texts = texts_of(target, items, first)
        request = text_request(target, texts, first)
    except InvalidInput as error:
        yield Chunk(first, len(items), b"", error=error)
        return
    if len(request) <= max_bytes:
        yield Chunk(first, len(items), request, texts)
    elif len(items) == 1:
        too_large = InvalidInput(
            f"Expected requests of at most {max_bytes} bytes. Received: item {first} needs {len(request)} bytes. "
            "Shorten it, or raise max_request_bytes in the ConnectionConfig."
        )
        yield Chunk(first, 1, b"", error=too_large)
    else:
        half = len(items) // 2
        yield from _requests(target, items[:half], first, max_bytes)
        yield from _requests(target, items[half:], first + half, max_bytes)
