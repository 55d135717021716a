import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tfllm.training import launching
from tfllm.training.launching import launch

INDEX = "import json, os; index = json.loads(os.environ['TF_CONFIG'])['task']['index']\n"


def code(text):
    return [sys.executable, "-c", INDEX + textwrap.dedent(text)]


STORES = """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # kept until it is asked for, so never missed
print("ready", flush=True)
if signal.sigtimedwait([signal.SIGTERM], 60):
"""


def launched(worker, **options):
    """Start a process that launches two of these workers, which are ready when this returns."""
    command = code("import signal, sys, time\n" + STORES + textwrap.indent(textwrap.dedent(worker), "    "))
    script = f"import sys; from tfllm.training.launching import launch; sys.exit(launch({command!r}, 2))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment, **options
    )
    for _ in range(2):
        assert "ready" in process.stdout.readline()
    return process


def test_every_line_has_its_worker(capfd):
    assert launch(code("print('hello', index)"), 3) == 0
    assert sorted(capfd.readouterr().out.splitlines()) == [f"[worker {n}] hello {n}" for n in range(3)]


def test_when_one_dies_all_stop_and_its_error_shows(capfd):
    status = launch(
        code(
            """
            import sys, time
            if index == 1:
                sys.exit("no such file")
            time.sleep(600)
            """
        ),
        2,
    )
    error = capfd.readouterr().err
    assert status == 1
    assert "[worker 1] no such file" in error and "Worker 1 ended with status 1" in error


def test_sigterm_reaches_the_workers():
    process = launched("print('stored', flush=True)")
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert output.count("stored") == 2 and process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_a_terminal_sends_to_all_reaches_the_workers_as_sigterm(number):
    process = launched("time.sleep(0.5)\nprint('stored', flush=True)\nsys.exit(143)", start_new_session=True)
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert output.count("stored") == 2 and process.returncode == 143


def test_a_second_ctrl_c_ends_the_workers_at_once():
    process = launched("print('storing', flush=True)\ntime.sleep(600)", start_new_session=True)
    os.killpg(process.pid, signal.SIGINT)
    for _ in range(2):
        assert "storing" in process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0


def test_a_worker_that_still_stores_is_waited_for(monkeypatch, capfd):
    monkeypatch.setattr(launching, "_STOP_SECONDS", 0.1)
    worker = """
    import sys, time
    if index == 0:
        time.sleep(10)
        print("stored", flush=True)
    sys.exit(143)
    """
    assert launch(code(worker), 2) == 143
    said = capfd.readouterr()
    assert "[worker 0] stored" in said.out and "Worker 1 stored the run and ended; waiting for the others" in said.err
    monkeypatch.setattr(launching, "_STORE_SECONDS", 0.1)
    assert launch(code(worker), 2) == 143
    said = capfd.readouterr()
    assert "[worker 0] stored" not in said.out and "Worker 1 ended with status 143; stopping the others" in said.err


def test_one_that_fails_while_the_others_store_is_named(capfd):
    assert launch(code("import sys, time\ntime.sleep(index)\nsys.exit([143, 1][index])"), 2) == 1
    assert "Worker 1 ended with status 1" in capfd.readouterr().err
