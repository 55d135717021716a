"""Each file says at its top what it is for and how it is used; the checked-in configuration is what the verb writes."""

import pytest
from deployment_files import SERVING, head_of

COMMANDS = ("docker ", "kubectl ", "tfllm ", "python ", "envoy ", "promtool ", "compose.yaml", "model_ready.sh", "--")
FILES = sorted(
    path
    for path in SERVING.rglob("*")
    if path.is_file()
    and path.suffix not in {".binpb", ".json", ".md", ".py"}
    and not {"credentials", "__pycache__"} & set(path.parts)
)


def test_there_are_files():
    assert len(FILES) > 20


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SERVING)))
def test_a_file_says_what_it_is_for_and_how_it_is_used(path):
    head = head_of(path)
    assert len(head) > 60
    assert any(command in head for command in COMMANDS), head


@pytest.mark.parametrize("folder", ["config", "kubernetes/base/config"])
def test_the_configuration_is_what_the_verb_writes(folder, serving, model_server_flags):
    for name, written in model_server_flags.paths.items():
        assert (serving / folder / name).read_text("utf-8") == written.read_text("utf-8"), name


def test_the_readme_names_every_folder_and_file_at_the_top(serving):
    text = (serving / "README.md").read_text("utf-8")
    for path in serving.iterdir():
        if path.name not in {"README.md", "credentials", "__pycache__"}:
            assert path.name in text, path.name
