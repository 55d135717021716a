import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
PACKAGE = PROJECT / "tfllm"
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PROJECT)) for path in MODULES]
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in zip(NAMES, MODULES, strict=True)}
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef

every_module = pytest.mark.parametrize("name", NAMES)


def lines_of(function):
    """Count the lines of a function without decorators and docstring."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= function.body[0].end_lineno - function.body[0].lineno + 1
    return lines


def nodes(name, *kinds):
    return [node for node in ast.walk(TREES[name]) if isinstance(node, kinds)]


def run_python(code):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


def test_there_is_something_to_check():
    assert {"tfllm/__init__.py", "tfllm/data/sources.py", "tfllm/server/server.py"} <= set(NAMES)


@every_module
def test_a_module_has_at_most_300_lines(name):
    assert len((PROJECT / name).read_text("utf-8").splitlines()) <= 300


@every_module
def test_a_function_has_at_most_40_lines(name):
    long = {node.name: lines_of(node) for node in nodes(name, FUNCTIONS) if lines_of(node) > 40}
    assert not long


@every_module
def test_a_module_says_what_it_is(name):
    docstring = ast.get_docstring(TREES[name])
    assert docstring and docstring.splitlines()[0].endswith((".", ":")), name


@every_module
def test_no_bare_except(name):
    assert not [node.lineno for node in nodes(name, ast.ExceptHandler) if node.type is None]


@every_module
def test_no_relative_imports(name):
    assert not [node.lineno for node in nodes(name, ast.ImportFrom) if node.level]


def test_no_module_is_a_drawer():
    assert not [name for name in NAMES if Path(name).stem in {"utils", "util", "helpers", "common", "misc"}]


def test_no_folder_has_the_name_of_a_public_function():
    """With `tfllm/serve/` on disk, importing it would replace the function `tfllm.serve`."""
    import tfllm

    folders_and_modules = {Path(name).stem for name in NAMES if len(Path(name).parts) == 2}
    folders_and_modules |= {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert "server" in folders_and_modules
    assert not folders_and_modules & set(tfllm.__all__)
    for path in PACKAGE.rglob("*"):
        if path.is_dir() and path.name != "__pycache__":
            home = f"{path.parent.relative_to(PROJECT)}/__init__.py"
            if home in TREES:
                assert path.name not in {node.name for node in nodes(home, FUNCTIONS, ast.ClassDef)}


def test_every_folder_of_modules_is_a_package():
    assert not [str(path.parent) for path in MODULES if not (path.parent / "__init__.py").exists()]


def test_the_import_contracts_hold():
    """In a process of its own: the linter disables the loggers of its process."""
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    arguments = ["--config", "setup.cfg", "--no-cache"]
    done = subprocess.run([sys.executable, "-c", command, *arguments], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_box_has_an_import_contract():
    contracts = (PROJECT / "setup.cfg").read_text("utf-8")
    sources = {line.strip() for line in contracts.splitlines() if line.strip().startswith("tfllm.")}
    boxes = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert not {f"tfllm.{box}" for box in boxes} - sources


HEAVY = ("tensorflow", "keras", "keras_hub", "pandas", "tensorflow_text", "sklearn", "matplotlib", "rich")


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import tfllm", (*HEAVY, "numpy", "grpc", "google.protobuf")),
        ("import tfllm; tfllm.TfllmError", (*HEAVY, "numpy", "grpc", "google.protobuf")),
        ("import tfllm; tfllm.Client; tfllm.Classification", HEAVY),
        ("import tfllm.config, tfllm.repository", (*HEAVY, "numpy", "grpc")),
        ("import tfllm; tfllm.FineTuneConfig", HEAVY),
        ("import tfllm; tfllm.TextDataset; tfllm.load_dataset; tfllm.LabelMap", ("tensorflow", "keras", "matplotlib")),
        ("import tfllm; tfllm.evaluate; tfllm.Report", ("tensorflow", "keras", "matplotlib.pyplot")),
    ],
)
def test_what_an_import_does_not_load(statement, heavy):
    loaded = set(run_python(f"import sys\n{statement}\nprint(*sys.modules)"))
    assert "tfllm" in loaded
    assert not loaded & set(heavy)


def names_of(name):
    """Names that a module has for others to import."""
    found = {node.name for node in nodes(name, FUNCTIONS, ast.ClassDef)}
    found |= {alias.asname or alias.name for node in nodes(name, ast.Import, ast.ImportFrom) for alias in node.names}
    return found | {node.id for node in nodes(name, ast.Name) if isinstance(node.ctx, ast.Store)}


@pytest.mark.parametrize("path", sorted((PROJECT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_what_a_benchmark_imports_is_there(path):
    """Benchmarks run by hand, so that a name that has moved would show only to the next who measures."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)):
        home = (node.module or "").replace(".", "/")
        file = next((name for name in (f"{home}.py", f"{home}/__init__.py") if name in TREES), None)
        if file is None or file == "tfllm/__init__.py":
            continue
        modules = {Path(name).stem for name in NAMES if str(Path(name).parent) == home}
        assert not {alias.name for alias in node.names} - names_of(file) - modules, node.module


def test_what_the_server_does_not_load():
    pytest.importorskip("tensorflow_serving")
    loaded = set(run_python("import sys, tfllm\ntfllm.serve, tfllm.Server\nprint(*sys.modules)"))
    assert not [
        name for name in loaded if name.startswith(("tfllm.tasks", "tfllm.training", "tfllm.client", "keras_hub"))
    ]
