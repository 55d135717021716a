import os
import signal
import subprocess
import sys
import textwrap

from tfllm.training.launching import launch

INDEX = "import json, os; index = json.loads(os.environ['TF_CONFIG'])['task']['index']\n"


def code(text):
    return [sys.executable, "-c", INDEX + textwrap.dedent(text)]


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
    worker = """
    import signal
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # kept until it is asked for, so never missed
    print("ready", flush=True)
    if signal.sigtimedwait([signal.SIGTERM], 60):
        print("stored", flush=True)
    """
    script = f"import sys; from tfllm.training.launching import launch; sys.exit(launch({code(worker)!r}, 2))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    for _ in range(2):
        assert "ready" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert output.count("stored") == 2 and process.returncode == 0
