"""Copies, prunes or labels in a process of its own, which the tests of repositories start and may kill.

`copy SOURCE TARGET`, `prune BASE` or `label BASE PREFIX COUNT`. It prints a line when it is ready and waits for one.
With `STOP_AT="module function N"` in the environment it prints a second line before the Nth call of that function, and
stays there.
"""

import importlib
import itertools
import os
import sys

from tfllm import repository, repository_copy, repository_labels, repository_locks

repository_locks.WAIT = 60  # waiting is not fair, and the machine may be slow


def say_and_wait():
    print(flush=True)
    sys.stdin.readline()


def stop_at(module, name, call):
    module, calls = importlib.import_module(module), itertools.count(1)
    function = getattr(module, name)

    def stopping(*args, **kwargs):
        if next(calls) == int(call):
            say_and_wait()
        return function(*args, **kwargs)

    setattr(module, name, stopping)


def copy(source, target):
    found = repository.find_version(source)
    say_and_wait()
    repository_copy.copy_version(found, target)


def prune(base):
    say_and_wait()
    repository_labels.prune(base, 1)


def label(base, prefix, count):
    say_and_wait()
    for number in range(int(count)):
        repository_labels.set_label(base, f"{prefix}{number}", 1)


if "STOP_AT" in os.environ:
    stop_at(*os.environ["STOP_AT"].split())
{"copy": copy, "prune": prune, "label": label}[sys.argv[1]](*sys.argv[2:])
