"""Work that may take longer than a call may, such as looking names up: done once, beside all calls that wait for it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def in_background(work: Callable[[], T]) -> "Future[T]":
    """Do work in a thread of its own, which does not keep the program from ending.

    Args:
        work: what to do.

    Returns:
        the work's result, or whatever it raised. Until it is there, `cancel` ends the waiting for it.
    """
    future: Future[T] = Future()

    def do() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - it goes to those who wait
            if future.set_running_or_notify_cancel():
                future.set_exception(error)
        else:
            if future.set_running_or_notify_cancel():
                future.set_result(result)

    threading.Thread(target=do, daemon=True).start()
    return future
