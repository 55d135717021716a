"""Run the examples of the task guides, and write what they print into the pages.

    python docs/run_examples.py [NAME ...]

A guide (`docs/tasks/`, `docs/pretraining.md`) shows a script of `examples/` as it is, and after it what it prints.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXAMPLE = re.compile(r"```python\n([^`]*)```\n\nIt prints:\n\n```\n(.*?)```", re.S)


def shown_examples() -> dict[str, tuple[Path, str]]:
    """Return name of each script in a guide -> the page, and what the page says that it prints."""
    scripts = {file.read_text("utf-8"): file.name for file in (ROOT / "examples").glob("*.py")}
    found = {}
    for page in [*sorted((ROOT / "docs" / "tasks").glob("*.md")), ROOT / "docs" / "pretraining.md"]:
        for code, output in EXAMPLE.findall(page.read_text("utf-8")):
            if code not in scripts:
                sys.exit(f"{page.name} shows an example that is not in examples/:\n{code}")
            found[scripts[code]] = (page, output)
    return found


def run(name: str) -> str:
    """Run an example in an empty folder, and return what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "examples").symlink_to(ROOT / "examples")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, f"examples/{name}"]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True, env=environment)
        return done.stdout


def main() -> None:
    examples = shown_examples()
    for name in sys.argv[1:] or examples:
        page, before = examples[name]
        code = (ROOT / "examples" / name).read_text("utf-8")
        shown = f"```python\n{code}```\n\nIt prints:\n\n```\n"
        text = page.read_text("utf-8")
        page.write_text(text.replace(f"{shown}{before}```", f"{shown}{run(name)}```"), "utf-8")
        print(f"{name} -> {page.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
