"""One call, for threads and for event loops: send, explain what failed, and read what came back.

The two classes are twins on purpose, side by side: all that they decide is in `Session`, `calls` and `hints`.
"""

from tfllm.client import calls, hints, metadata
from tfllm.client.aio_transport import AsyncTransport
from tfllm.client.bulk import Deadline, Outcome
from tfllm.client.calls import Chunk, Target
from tfllm.client.metadata import ModelMetadata, VersionStatus
from tfllm.client.session import Session
from tfllm.client.transport import Transport
from tfllm.errors import CallError
from tfllm.wire import messages


class Caller:
    """Calls for threads.

    Args:
        session: what is called.
        transport: what carries the calls.
    """

    def __init__(self, session: Session, transport: Transport) -> None:
        self._session, self._transport = session, transport

    def ask(self, chunk: Chunk, deadline: Deadline) -> Outcome:
        """Return what became of one request of a long call."""
        try:
            response = self.predict(self._session.target, chunk.request, deadline, chunk.first)
            return Outcome(chunk, calls.results_of(response, chunk.count))
        except CallError as error:
            return Outcome(chunk, error=error)

    def predict(self, target: Target, request: bytes, deadline: Deadline, done: int | None = None) -> bytes:
        """Send a Predict request; an error that the signature explains is explained."""
        try:
            return self._call(messages.PREDICT, request, target, deadline.remaining(done))
        except CallError as error:
            if not hints.is_mismatch(error):
                raise
            raise self._with_signature(error, target, deadline) from error.__cause__

    def status(self, timeout: float | None) -> list[VersionStatus]:
        """Return the state of each version of the model."""
        target = self._session.target
        response = self._call(messages.GET_MODEL_STATUS, metadata.status_request(target), target, timeout)
        return metadata.statuses_of(response)

    def metadata(self, target: Target, timeout: float | None) -> ModelMetadata:
        """Return the model's signatures."""
        response = self._call(messages.GET_MODEL_METADATA, metadata.metadata_request(target), target, timeout)
        return metadata.metadata_of(response)

    def close(self, grace: float) -> None:
        """Close the transport."""
        self._transport.close(grace)

    def _call(self, method: str, request: bytes, target: Target, timeout: float | None) -> bytes:
        try:
            return self._transport.call(method, request, timeout)
        except CallError as error:
            raise hints.explained(error, target) from error.__cause__

    def _with_signature(self, error: CallError, target: Target, deadline: Deadline) -> CallError:
        found = self._session.signatures.get(target)
        if found is None:
            try:
                found = self.metadata(target, deadline.at_most(hints.LOOK_UP_SECONDS))
            except CallError:
                return error  # what the server said of the call itself matters more
            self._session.signatures.put(target, found)
        return hints.with_signature(error, target, found)


class AsyncCaller:
    """Calls for event loops; see `Caller`.

    Args:
        session: what is called.
        transport: what carries the calls.
    """

    def __init__(self, session: Session, transport: AsyncTransport) -> None:
        self._session, self._transport = session, transport

    async def ask(self, chunk: Chunk, deadline: Deadline) -> Outcome:
        """Return what became of one request of a long call."""
        try:
            response = await self.predict(self._session.target, chunk.request, deadline, chunk.first)
            return Outcome(chunk, calls.results_of(response, chunk.count))
        except CallError as error:
            return Outcome(chunk, error=error)

    async def predict(self, target: Target, request: bytes, deadline: Deadline, done: int | None = None) -> bytes:
        """Send a Predict request; an error that the signature explains is explained."""
        try:
            return await self._call(messages.PREDICT, request, target, deadline.remaining(done))
        except CallError as error:
            if not hints.is_mismatch(error):
                raise
            raise await self._with_signature(error, target, deadline) from error.__cause__

    async def status(self, timeout: float | None) -> list[VersionStatus]:
        """Return the state of each version of the model."""
        target = self._session.target
        response = await self._call(messages.GET_MODEL_STATUS, metadata.status_request(target), target, timeout)
        return metadata.statuses_of(response)

    async def metadata(self, target: Target, timeout: float | None) -> ModelMetadata:
        """Return the model's signatures."""
        response = await self._call(messages.GET_MODEL_METADATA, metadata.metadata_request(target), target, timeout)
        return metadata.metadata_of(response)

    async def close(self, grace: float) -> None:
        """Close the transport."""
        await self._transport.close(grace)

    async def _call(self, method: str, request: bytes, target: Target, timeout: float | None) -> bytes:
        try:
            return await self._transport.call(method, request, timeout)
        except CallError as error:
            raise hints.explained(error, target) from error.__cause__

    async def _with_signature(self, error: CallError, target: Target, deadline: Deadline) -> CallError:
        found = self._session.signatures.get(target)
        if found is None:
            try:
                found = await self.metadata(target, deadline.at_most(hints.LOOK_UP_SECONDS))
            except CallError:
                return error  # what the server said of the call itself matters more
            self._session.signatures.put(target, found)
        return hints.with_signature(error, target, found)
