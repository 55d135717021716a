"""Write docs/cli.md from the `--help` of every verb, so that the page cannot drift; `--check` compares instead."""

import sys
from pathlib import Path

import click

from tfllm.cli import cli

PAGE = Path(__file__).parent / "cli.md"
HEAD = """# Command line

`tfllm VERB --help` says all of this too. Every verb ends with status 0 when all went well, 1 with one line on standard
error when tfllm refused something, and 2 when the command itself was wrong. Results go to standard output, everything
else to standard error; `--json` prints results for programs.

This page is made from the code by `make docs`.
"""


def page() -> str:
    sections = [HEAD]
    for name, command in sorted(cli.commands.items()):
        context = click.Context(command, info_name=f"tfllm {name}", terminal_width=100, max_content_width=100)
        sections.append(f"## tfllm {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(sections)


def main() -> None:
    if "--check" not in sys.argv:
        PAGE.write_text(page(), "utf-8")
    elif not PAGE.is_file() or PAGE.read_text("utf-8") != page():
        sys.exit("docs/cli.md is not what the code says. Run: make docs")


if __name__ == "__main__":
    main()
