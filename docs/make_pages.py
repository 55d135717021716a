"""Write the pages that are made from the code, so that they cannot drift; `--check` compares instead.

docs/cli.md               the `--help` of every verb
docs/errors.md            the tree of errors, with what each one means
docs/decisions/README.md  the list of decisions, by their titles
"""

import sys
from pathlib import Path

import click

from tfllm import errors
from tfllm.cli import cli

FOLDER = Path(__file__).parent

CLI_HEAD = """# Command line

`tfllm VERB --help` says all of this too. Results go to standard output, everything else to standard error; `--json`
prints results for programs. Every verb ends with one of these:

| status | when |
|---|---|
| 0 | all went well |
| 1 | tfllm refused something, be it data, a setting, a model or a call: one line on standard error says what |
| 2 | the command line itself was wrong: no such verb or option, or a value of the wrong type |
| 143 | SIGTERM stopped `train`, `pretrain` or `tune`: the run is stored, and the same command again continues it |

An error that tfllm does not know ends with 1 too, after Python's traceback. So a scheduler that starts jobs again
cannot tell wrong data from a lost worker by the status.

This page is made from the code by `make docs`.
"""

ERRORS_HEAD = """# Errors

Every error that tfllm raises on purpose is a `tfllm.TfllmError`; the classes are in `tfllm.errors`. A message says what
was expected, what was received, and what to do or what the choices are:

```text
Expected a column 'lable' in 'reviews.csv'. Did you mean 'label'? Available: 'review', 'label'.
```

The errors of calls are the same classes on both sides of the wire: the server raises them, gRPC carries their status,
and the client raises the same class again, with `.code`, `.http_status`, `.details` (the server's own words), `.model`,
`.address` and `.hint`.

```python
import tfllm
from tfllm import errors

try:
    with tfllm.Client("localhost:8500", model="reviews", timeout=2.0) as client:
        answers = client.predict(texts)
except errors.Timeout:
    ...                      # too slow: nothing was lost, ask again
except errors.ServerUnavailable as error:
    print(error)             # names the address and what to check
except errors.CallError as error:
    print(error.code)        # every other status
```

This page is made from the code by `make docs`.
"""

DECISIONS_HEAD = """# Decisions

Short notes on why things are as they are: what was decided, what it was chosen over, and what would change it.

This page is made from the titles of the notes by `make docs`.

| | |
|---|---|
"""


def cli_page() -> str:
    sections = [CLI_HEAD]
    for name, command in commands(cli, "tfllm"):
        context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
        sections.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(sections)


def commands(group: click.Group, prefix: str) -> list[tuple[str, click.Command]]:
    """Return the verbs of a group by their full names, each group's before the next verb."""
    found: list[tuple[str, click.Command]] = []
    for name, command in sorted(group.commands.items()):
        found.append((f"{prefix} {name}", command))
        if isinstance(command, click.Group):
            found += commands(command, f"{prefix} {name}")
    return found


def errors_page() -> str:
    rows = ["| error | is a | gRPC status | HTTP | when |", "|---|---|---|---|---|"]
    for cls in tree(errors.TfllmError):
        is_call = issubclass(cls, errors.CallError) and cls is not errors.CallError
        status = (cls.code, str(cls.http_status)) if is_call else ("", "")
        meaning = (cls.__doc__ or "").splitlines()[0]
        bases = ", ".join(f"`{base.__name__}`" for base in cls.__bases__)
        rows.append(f"| `{cls.__name__}` | {bases} | {status[0]} | {status[1]} | {meaning} |")
    return ERRORS_HEAD + "\n" + "\n".join(rows) + "\n"


def decisions_page() -> str:
    notes = sorted((FOLDER / "decisions").glob("[0-9]*.md"))
    titles = [note.read_text("utf-8").splitlines()[0].removeprefix("# ") for note in notes]
    rows = [f"| [{note.name[:4]}]({note.name}) | {title} |\n" for note, title in zip(notes, titles, strict=True)]
    return DECISIONS_HEAD + "".join(rows)


def tree(cls: type) -> list[type]:
    return [cls, *(found for child in cls.__subclasses__() for found in tree(child))]


def main() -> None:
    pages = {"cli.md": cli_page(), "errors.md": errors_page(), "decisions/README.md": decisions_page()}
    for name, text in pages.items():
        page = FOLDER / name
        if "--check" not in sys.argv:
            page.write_text(text, "utf-8")
        elif not page.is_file() or page.read_text("utf-8") != text:
            sys.exit(f"docs/{name} is not what the code says. Run: make docs")


if __name__ == "__main__":
    main()
