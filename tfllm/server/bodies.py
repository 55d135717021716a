"""The bodies of REST requests: read within a limit each, and within one for all that are under way."""

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

    def take(self, more: int) -> None:
        """Hold more bytes, or fewer for a number below zero.

        Raises:
            Overloaded: there is no room for them.
        """
        if more > 0 and self._held + more > self._most:
            raise Overloaded(f"The bodies of requests under way hold {self._held} of {self._most} bytes.")
        self._held += more


class Place:
    """The room that one body holds until `leave`.

    Args:
        room: what it is of.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._counted = 0

    def leave(self) -> None:
        """Give the room back; a second call does nothing."""
        self._room.take(-self._counted)
        self._counted = 0

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
            more = len(body) - _FREE - self._counted
            if more > 0:
                self._room.take(more)
                self._counted += more
        return bytes(body)
