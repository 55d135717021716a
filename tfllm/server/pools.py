"""Worker threads that know how much waits for them."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class CountingPool(ThreadPoolExecutor):
    """A thread pool that counts what it was given and has not begun yet, or is at work on.

    Args:
        workers: the number of threads.
        name: what their names begin with.

    Attributes:
        workers: the number of threads.
    """

    def __init__(self, workers: int, name: str) -> None:
        super().__init__(workers, thread_name_prefix=name)
        self.workers = workers
        self._pending = 0
        self._counted = threading.Lock()

    @property
    def waiting(self) -> int:
        """How many tasks wait for a thread."""
        return max(0, self._pending - self.workers)

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Run a function in a thread, once there is one."""
        with self._counted:
            self._pending += 1
        try:
            future = super().submit(function, *arguments, **named)
        except RuntimeError:  # the pool has been shut down
            self._done(None)
            raise
        future.add_done_callback(self._done)
        return future

    def _done(self, future: Future[Any] | None) -> None:
        with self._counted:
            self._pending -= 1
