"""The pages say what the code does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from run_examples import run as run_example
from run_examples import shown_examples

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_generated_pages_are_up_to_date():
    subprocess.run([sys.executable, ROOT / "docs" / "make_pages.py", "--check"], check=True)


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "benchmarks" / "README.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_somewhere(page):
    for target, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text("utf-8")):
        linked = page.parent / target if target else page
        assert linked.exists(), f"{page.name} links to {target}"
        assert not heading or heading in anchors_of(linked), f"{page.name} links to {target}#{heading}"


def anchors_of(page):
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ +(.+?) *$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_shows_the_example_as_it_is():
    assert (ROOT / "examples" / "quickstart.py").read_text("utf-8") in (ROOT / "README.md").read_text("utf-8")


def test_the_task_guides_show_examples_as_they_are():
    elsewhere = {"quickstart.py", "search.py"}  # in the readme, and on a page of its own
    assert {file.name for file in (ROOT / "examples").glob("*.py")} - elsewhere == set(shown_examples())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(shown_examples()))
def test_the_examples_of_the_task_guides_print_what_the_pages_say(name):
    """The words are the same; numbers differ a little from machine to machine."""
    number = re.compile(r"-?[0-9]+(\.[0-9]+)?")
    _, expected = shown_examples()[name]
    assert number.sub("0", run_example(name)).split() == number.sub("0", expected).split()


def test_commands_in_the_pages_have_options_that_exist():
    from tfllm.cli import cli

    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text("utf-8"), re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = line.split()
                if words[:1] == ["tfllm"] and len(words) > 1:
                    head, _, started = line.partition(" -- ")  # `tfllm launch ... -- train ...`
                    for command in filter(None, (head, started and f"tfllm {started}")):
                        assert options_of(command.split()) <= known_options(command.split(), cli), line


def options_of(words):
    return {word.partition("=")[0] for word in words if word.startswith("--")}


def known_options(words, cli):
    command = cli.commands[words[1]]
    if words[1] == "models":
        command = command.commands.get(words[2] if len(words) > 2 else "list", command.commands["list"])
    return {flag for option in command.params for flag in option.opts}


def test_the_search_page_shows_the_example_as_it_is():
    page = (ROOT / "docs" / "tasks" / "search.md").read_text("utf-8")
    assert (ROOT / "examples" / "search.py").read_text("utf-8") in page


@pytest.mark.slow
def test_the_search_example_prints_what_the_page_shows(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(
        [sys.executable, "examples/search.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout in (ROOT / "docs" / "tasks" / "search.md").read_text("utf-8")


@pytest.mark.slow
def test_the_readme_example_runs(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(
        [sys.executable, "examples/quickstart.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    accuracy = float(re.search(r"accuracy +([0-9.]+)", done.stdout).group(1))
    assert accuracy >= 0.9
    assert re.findall(r"label='(\w+)'", done.stdout) == ["delivery", "cancel_subscription", "thanks_or_praise"]
