"""The probe's script against a real server: it needs bash alone, and knows the models."""

import os
import subprocess
from pathlib import Path

import pytest


@pytest.fixture
def probe(serving, toy_server, tmp_path):
    def run(*arguments, **environment):
        known = {"REST_PORT": str(toy_server.rest_api_port), "MODEL_CONFIG_FILE": str(tmp_path / "models.config")}
        done = subprocess.run(
            ["bash", serving / "model_ready.sh", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
            env={"PATH": os.environ["PATH"], **known, **environment},
        )
        return done.returncode, done.stderr

    return run


def test_models_that_answer(probe, tmp_path):
    assert probe("toy") == (0, "")
    assert probe("toy", "toy") == (0, "")
    assert probe(MODEL_NAME="toy") == (0, "")
    (tmp_path / "models.config").write_text(
        '# name: "other"\nmodel_config_list {\n  config {\n    name: "toy"\n  }\n}\n'
    )
    assert probe() == (0, "")


def test_models_that_do_not(probe, tmp_path):
    assert probe("nope") == (1, "model nope is not available\n")
    assert probe("toy", "nope")[0] == 1
    assert probe()[0] == 1  # no list, and no model named `model`
    (tmp_path / "models.config").write_text('model_config_list {\n config { name: "nope" }\n config { name: "toy" }\n}')
    assert probe() == (1, "model nope is not available\n")
    (tmp_path / "models.config").write_text("model_config_list {}\n")
    assert probe()[0] == 1


def test_a_version_that_is_not_loaded(probe, toy_server):
    """A broken version is in the list with the state END, which must not count."""
    from tfllm.repository import ModelVersion
    from tfllm.server.versions import ServedVersion, State

    broken = ServedVersion(ModelVersion("broken", 1, Path("/nowhere")))
    broken.state = State.END
    toy_server._engine.put(broken)
    assert probe("broken") == (1, "model broken is not available\n")


def test_alive(probe):
    assert probe("--alive") == (0, "")
    assert probe("--alive", REST_PORT="1")[0] == 1
    assert probe("toy", REST_PORT="1")[0] == 1
