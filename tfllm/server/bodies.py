"""The bodies of REST requests: read within a limit each, and within one for all that are under way."""

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from tfllm.errors import Overloaded

_FREE = 65_536
"""So many bytes of each body are not counted, so that large ones under way leave small requests alone."""


class Room:
    """Room for the bodies that are under way in one event loop.

    Args:
        most: the bytes of all of them, but for the first 64 kB of each.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """Hold room for one body, until its request has been answered."""
        place = Place(self)
        try:
            yield place
        finally:
            self.take(-place.counted)

    def take(self, more: int) -> None:
        """Hold more bytes, or fewer for a number below zero.

        Raises:
            Overloaded: there is no room for them.
        """
        if more > 0 and self._held + more > self._most:
            raise Overloaded(f"The bodies of requests under way hold {self._held} of {self._most} bytes.")
        self._held += more


class Place:
    """The room that one body holds.

    Args:
        room: what it is of.

    Attributes:
        counted: how many bytes it holds.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self.counted = 0

    async def read(self, request: web.Request, most: int) -> bytes:
        """Return the whole body of a request.

        Args:
            request: whose body.
            most: the bytes it may have.

        Raises:
            Overloaded: there is no room for it.
            web.HTTPRequestEntityTooLarge: it is longer.
        """
        if (request.content_length or 0) > most:
            raise web.HTTPRequestEntityTooLarge(most, request.content_length or 0)
        body = bytearray()
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > most:
                raise web.HTTPRequestEntityTooLarge(most, len(body))
            more = len(body) - _FREE - self.counted
            if more > 0:
                self._room.take(more)
                self.counted += more
        return bytes(body)
