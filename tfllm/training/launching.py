"""Several workers on this machine: `launch` starts them, shows what they say, and stops all when one dies."""

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO

from tfllm.errors import ConfigError

_POLL_SECONDS = 0.2
_STOP_SECONDS = 15.0
_STORE_SECONDS = 600.0
"""How long the others may still store the run when one worker has ended because it was asked to."""
_STORED = 143
"""The status of a worker that stored the run and ended, because it was asked to."""


def launch(command: Sequence[str], workers: int) -> int:
    """Run one command in several processes that train together, each with its `TF_CONFIG`.

    Each line that a worker prints gets its number in front. When one ends with an error, the others are stopped.
    SIGTERM, Ctrl-C and the end of the terminal reach the workers as SIGTERM, so that all of them store their run and
    end with status 143; a second Ctrl-C ends them at once.

    Args:
        command: what each worker runs.
        workers: how many; the processor's cores are shared between them, unless `TF_NUM_INTRAOP_THREADS` is set.

    Returns:
        The exit status of the first worker that failed; otherwise 143 if the run was stopped, or 0.

    Raises:
        ConfigError: there is no worker, or no command.

    Example:
        >>> launch([sys.executable, "-c", "import os; assert 'TF_CONFIG' in os.environ"], workers=2)
        0
    """
    if workers < 1 or not command:
        raise ConfigError(f"Expected a command and at least one worker. Received: {workers} workers, {list(command)}.")
    environments = [_environment(workers, index, ports) for ports in [_free_ports(workers)] for index in range(workers)]
    processes: list[subprocess.Popen[str]] = []
    readers: list[threading.Thread] = []
    with _passing_on_signals(processes) as passing:
        for index, environment in enumerate(environments):
            process = subprocess.Popen(
                command,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=passing,  # a terminal's Ctrl-C would reach them as SIGINT too
            )
            processes.append(process)
            for stream, out in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
                readers.append(threading.Thread(target=_copy, args=(stream, out, f"[worker {index}] "), daemon=True))
                readers[-1].start()
        status = _wait(processes)
    for reader in readers:
        reader.join()
    return status


def _wait(processes: Sequence[subprocess.Popen[str]]) -> int:
    stored = math.inf  # until when the others may store
    while True:
        statuses = [process.poll() for process in processes]
        failed = [index for index, status in enumerate(statuses) if status not in (None, 0, _STORED)]
        if failed:
            return _give_up(processes, failed[0])
        if None not in statuses:
            return max(int(status or 0) for status in statuses)
        if _STORED in statuses and stored == math.inf:
            stored = time.monotonic() + _STORE_SECONDS
            _say(f"Worker {statuses.index(_STORED)} stored the run and ended; waiting for the others.")
        if time.monotonic() > stored:
            return _give_up(processes, statuses.index(_STORED))
        time.sleep(_POLL_SECONDS)


def _give_up(processes: Sequence[subprocess.Popen[str]], index: int) -> int:
    status = processes[index].returncode
    _say(f"Worker {index} ended with status {status}; stopping the others.")
    _stop(processes)
    return status


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(text, file=sys.stderr)


def _stop(processes: Sequence[subprocess.Popen[str]]) -> None:
    """End all processes; one that waits for a dead worker in the middle of a step cannot store anything."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + _STOP_SECONDS
    for process in running:
        try:
            process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _passing_on_signals(processes: Sequence[subprocess.Popen[str]]) -> Iterator[bool]:
    """Pass signals on to the workers; say whether that works, which it does in the main thread alone."""
    interrupts: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        interrupts.extend([number] * (number == signal.SIGINT))
        for process in processes:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL if len(interrupts) > 1 else signal.SIGTERM)

    if threading.current_thread() is not threading.main_thread():
        yield False
        return
    with contextlib.ExitStack() as after:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
                after.callback(signal.signal, number, signal.signal(number, pass_on))
        yield True


def _environment(workers: int, index: int, ports: Sequence[int]) -> dict[str, str]:
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    config = {
        "cluster": {"worker": [f"127.0.0.1:{port}" for port in ports]},
        "task": {"type": "worker", "index": index},
    }
    shared = {"TF_NUM_INTRAOP_THREADS": threads, "OMP_NUM_THREADS": threads, "PYTHONUNBUFFERED": "1", **os.environ}
    return {**shared, "TF_CONFIG": json.dumps(config)}


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]


def _copy(stream: IO[str] | None, out: IO[str], prefix: str) -> None:
    if stream is None:
        return
    for line in stream:
        with contextlib.suppress(OSError):  # the terminal may be gone; the worker must still get rid of its lines
            out.write(prefix + line)
            out.flush()
