"""The web server below the REST API: an aiohttp loop in a thread of its own, and workers that run the models."""

import asyncio
import contextlib
import functools
import logging
import os
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from aiohttp import web

from tfllm.errors import CallError, Cancelled, InvalidInput, Overloaded, ServerError, Timeout
from tfllm.server.access import Access
from tfllm.server.addresses import port_error
from tfllm.server.bodies import Place, Room
from tfllm.server.config import ServerConfig
from tfllm.server.observers import Observers, RequestEvent
from tfllm.server.rest_api import Answer, RestApi, refuse

logger = logging.getLogger(__name__)
_connections_logger = logging.getLogger(f"{__name__}.connections")
_SILENT_SECONDS = 60.0  # a connection that brings no whole request for so long is closed
_CLOSING_SECONDS = 0.1  # for connections without a request, once `stop` has waited for the others
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
}
_BODIES_OF_THE_LARGEST_SIZE = 4  # as many may be under way together
_MOST_UNDER_WAY = 10_000  # requests, also those whose bodies are still to come
_COMPRESSED_FROM = 1024  # bytes; smaller answers do not gain


class RestServer:
    """Serves a `RestApi` over HTTP/1.1 until it is stopped.

    Args:
        api: what answers.
        host: the address to listen on.
        port: the port, 0 for a free one.
        config: the number of workers and the time limit.
        observers: who is told of each request to a model.
        access: who is let in.
        tls: certificates, for HTTPS.

    Attributes:
        port: the port it listens on.

    Raises:
        ConfigError: the port cannot be opened.
    """

    def __init__(
        self,
        api: RestApi,
        *,
        host: str,
        port: int,
        config: ServerConfig,
        observers: Observers,
        access: Access | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._api = api
        self._observers = observers
        self._access = access or Access()
        self._timeout = config.rest_api_timeout_in_ms / 1000
        self._max_bytes = config.max_request_bytes
        self._headers = _CORS if config.rest_api_enable_cors_support else {}
        workers = config.rest_api_num_threads or (64 if config.enable_batching else 4 * (os.cpu_count() or 1))
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="tfllm-rest")
        self._most_ready = workers + config.max_waiting_requests
        self._ready = 0  # requests that are there as a whole
        self._room = Room(_BODIES_OF_THE_LARGEST_SIZE * self._max_bytes)
        self._under_way = 0
        self._ending = False
        self._heard: dict[asyncio.BaseProtocol, float] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tfllm-http", daemon=True)
        self._thread.start()
        try:
            self.port = self._run(self._start(host, port, tls))
        except OSError as error:
            self.stop(0)
            raise port_error(host, port) from error

    def stop(self, grace: float) -> None:
        """Take no new requests and let those under way end. A second call does nothing.

        Args:
            grace: the seconds that requests under way may still take.
        """
        if self._loop.is_closed():
            return
        self._run(self._end(grace))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _run(self, work: Coroutine[Any, Any, int]) -> int:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _start(self, host: str, port: int, tls: ssl.SSLContext | None) -> int:
        self._socket: asyncio.Server | None = None
        application = web.Application(client_max_size=self._max_bytes)
        application.router.add_route("*", r"/{path:[\s\S]*}", self._handle)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            logger=_connections_logger,
            handler_cancellation=True,
            shutdown_timeout=_CLOSING_SECONDS,
        )
        await self._runner.setup()
        self._socket = await self._loop.create_server(self._connect, host, port, ssl=tls, reuse_port=False)
        opened: int = self._socket.sockets[0].getsockname()[1]
        return opened

    async def _end(self, grace: float) -> int:
        self._ending = True
        if self._socket is not None:
            self._socket.close()
        end = self._loop.time() + grace
        while self._under_way and self._loop.time() < end:
            await asyncio.sleep(0.02)
        await self._runner.cleanup()
        return 0

    def _connect(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        if server is None:
            raise RuntimeError("Expected a server that has been set up. Received: none.")
        protocol = server()
        self._heard[protocol] = self._loop.time()
        self._loop.call_later(_SILENT_SECONDS, self._close_silent, protocol)
        return protocol

    def _hear(self, protocol: asyncio.BaseProtocol, ahead: float = 0.0) -> None:
        if protocol in self._heard:  # else it has been closed
            self._heard[protocol] = self._loop.time() + ahead

    def _close_silent(self, protocol: web.RequestHandler) -> None:
        """Close a connection on which no request has come to its end of headers for a while."""
        if protocol.transport is None:
            del self._heard[protocol]
            return
        left = self._heard[protocol] + _SILENT_SECONDS - self._loop.time()
        if left > 0:
            self._loop.call_later(max(left, 1.0), self._close_silent, protocol)
        else:
            del self._heard[protocol]
            protocol.transport.abort()

    async def _handle(self, request: web.Request) -> web.Response:
        response = await self._respond(request)
        if self._ending:  # else new requests would come on the open connections, and no stop would see the last one
            response.force_close()
        return response

    async def _respond(self, request: web.Request) -> web.Response:
        path = request.raw_path.partition("?")[0]
        if self._headers and request.method == "OPTIONS":  # a browser asks before it asks
            return web.Response(headers=self._headers)
        self._hear(request.protocol, self._timeout)  # silence begins after the answer
        self._under_way += 1
        try:
            accept = request.headers.get("Accept", "")
            answer = self._api.probe(request.method, path, accept) or await self._answer(request, path)
        finally:
            self._under_way -= 1
            self._hear(request.protocol)
        response = web.Response(
            status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type} | self._headers
        )
        if answer.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        if len(answer.body) > _COMPRESSED_FROM and "gzip" in request.headers.get("Accept-Encoding", ""):
            response.enable_compression(web.ContentCoding.gzip)
        return response

    async def _answer(self, request: web.Request, path: str) -> Answer:
        event = RequestEvent("", "REST", caller=request.remote or "unix")
        event.metadata = {name.lower(): value for name, value in request.headers.items()}
        event.deadline = event.arrived + self._timeout
        try:
            self._access.admit(event)
            looked = self._api.look(request.method, path, event)
            if looked is not None:
                return looked
            answer = await self._answer_in_time(request, path, event)
        except CallError as error:
            answer = _refuse(event, error)
        except web.HTTPRequestEntityTooLarge:
            answer = _refuse(event, Overloaded(f"Request body is larger than {self._max_bytes} bytes."))
            answer = answer._replace(status=413)
        except web.RequestPayloadError:
            request.content.feed_eof()  # else aiohttp goes on reading, and logs the same error as its own
            answer = _refuse(
                event,
                InvalidInput("Request body cannot be read: it is not what its Content-Encoding or its length says."),
            )
        except TimeoutError:
            answer = _refuse(event, Timeout("Timed out waiting for notification"))
        except asyncio.CancelledError:
            _refuse(event, Cancelled("The caller gave the request up."))
            self._observers.tell(event)
            raise
        except Exception as error:
            logger.exception("%s %s failed", request.method, path)
            answer = _refuse(event, ServerError(f"{type(error).__name__}: {error}"))
        event.response_bytes = len(answer.body)
        event.response = answer.body
        self._observers.tell(event)
        return answer

    async def _answer_in_time(self, request: web.Request, path: str, event: RequestEvent) -> Answer:
        self._refuse_if_full()
        gone = False
        event.given_up = lambda: gone
        place, handed_over = Place(self._room), False
        try:
            async with asyncio.timeout(self._timeout):
                event.request = body = await place.read(request, self._max_bytes)
                event.request_bytes = len(body)
                self._refuse_if_full()  # others have come while the body did
                work = functools.partial(self._api.answer, request.method, path, body, event)
                answering = self._submit(functools.partial(_timed, work, event, time.monotonic()), place)
                handed_over = True
                return await asyncio.wrap_future(answering)
        except asyncio.CancelledError:
            gone = True
            raise
        finally:
            if not handed_over:
                place.leave()

    def _refuse_if_full(self) -> None:
        if self._ready >= self._most_ready or self._under_way > _MOST_UNDER_WAY:
            raise Overloaded("Too many requests wait for a worker.")

    def _submit(self, work: Callable[[], Answer], place: Place) -> Future[Answer]:
        """Let a worker do the work; it counts, and its body has its place, until it is done or has been given up."""
        held = [work]  # a worker's queue keeps what was given up until it comes to it, but not what this held

        def leave() -> None:
            self._ready -= 1
            place.leave()

        def done(answering: Future[Answer]) -> None:
            held.clear()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody counts any more
                self._loop.call_soon_threadsafe(leave)

        answering = self._workers.submit(lambda: held.pop()())
        self._ready += 1
        answering.add_done_callback(done)
        return answering


def _is_no_damaged_body(record: logging.LogRecord) -> bool:
    """Whether a line of aiohttp's tells more than that the rest of a body, refused already, cannot be read."""
    return not (record.exc_info and isinstance(record.exc_info[1], web.RequestPayloadError))


_connections_logger.addFilter(_is_no_damaged_body)


def _timed(work: Callable[[], Answer], event: RequestEvent, since: float) -> Answer:
    event.queue_seconds = time.monotonic() - since
    if (refusal := event.refusal()) is not None:
        raise refusal
    return work()


def _refuse(event: RequestEvent, error: CallError) -> Answer:
    event.status, event.message = error.code, error.details
    return refuse(error)
