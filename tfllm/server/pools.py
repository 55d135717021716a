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
        self._counting = threading.Lock()
        self._here = threading.local()

    @property
    def waiting(self) -> int:
        """How many tasks wait for a thread."""
        return max(0, self._pending - self.workers)

    def full(self, most_waiting: int) -> bool:
        """Return whether all threads have work, and as many tasks as may wait for them."""
        return self._pending >= self.workers + most_waiting

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        """Run a function in a thread, once there is one."""
        self._count(1)
        try:
            future = super().submit(self._run, function, arguments, named)
        except RuntimeError:  # the pool has been shut down
            self._count(-1)
            raise
        future.add_done_callback(self._drop)
        return future

    def leave(self) -> None:
        """Count the task of this thread as done: its answer leaves, and whoever has it may ask at once again."""
        if getattr(self._here, "counted", False):
            self._here.counted = False
            self._count(-1)

    def _run(self, function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        self._here.counted = True
        try:
            return function(*arguments, **named)
        finally:
            self.leave()

    def _drop(self, future: Future[Any]) -> None:
        if future.cancelled():  # it has not run
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._counting:
            self._pending += more
