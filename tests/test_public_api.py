import ast
import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tfllm

PUBLIC = [name for name in tfllm.__all__ if not name.startswith("__")]
SLOW = {"tfllm.exporting.saved_model", *(f"tfllm.training.{name}" for name in ("fine_tuning", "pretraining", "tuning"))}
# These examples need a served model; tests/server and tests/client run what they show.
NEED_A_SERVER = ("tfllm.server", "tfllm.client")
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(tfllm.__path__, "tfllm.")
    if not module.name.startswith(NEED_A_SERVER) and not module.name.endswith("__main__")
)


def examples_of(module_name):
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for test in finder.find(importlib.import_module(module_name)) if test.examples]


def takes_arguments(value):
    function = value.__init__ if inspect.isclass(value) else value
    if inspect.isclass(value) and issubclass(value, BaseException):
        return False
    return any(name not in {"self", "args", "kwargs"} for name in inspect.signature(function).parameters)


def test_the_list_of_public_names_is_sorted_and_complete():
    assert tfllm.__all__ == sorted(tfllm.__all__)
    assert set(tfllm.__all__) == {*tfllm._HOME, "__version__"}
    assert len(set(tfllm.__all__)) == len(tfllm.__all__)
    assert list(tfllm._HOME) == sorted(tfllm._HOME)


def test_type_checkers_see_the_same_names():
    """The imports under `TYPE_CHECKING` and the table of lazy imports say the same."""
    tree = ast.parse(Path(tfllm.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: statement.module for statement in block.body for alias in statement.names}
    assert seen == tfllm._HOME


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_comes_from_its_home(name):
    value = getattr(tfllm, name)
    assert value.__module__ == tfllm._HOME[name]
    assert value.__name__ == name
    assert getattr(tfllm, name) is value
    assert name in dir(tfllm)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_says_what_it_takes_and_shows_its_use(name):
    value = getattr(tfllm, name)
    docstring = inspect.getdoc(value)
    assert docstring
    assert docstring.splitlines()[0].endswith((".", "`."))
    if takes_arguments(value):
        assert "Args:" in docstring or "Attributes:" in docstring
        if not inspect.isclass(value):
            assert "Returns:" in docstring or "Yields:" in docstring
    if not (inspect.isclass(value) and issubclass(value, BaseException)):
        assert "Example:" in docstring


@pytest.mark.parametrize("name", PUBLIC)
def test_every_argument_of_a_public_name_is_documented(name):
    value = getattr(tfllm, name)
    if not takes_arguments(value):
        return
    documented = inspect.getdoc(value)
    if "FineTuneConfig" in documented:
        documented += inspect.getdoc(tfllm.FineTuneConfig)
    if "PretrainConfig" in documented:
        documented += inspect.getdoc(tfllm.PretrainConfig)
    if "Keras" in documented or "backbone" in documented:
        documented += "name:"  # every Keras model has one
    for argument in inspect.signature(value).parameters.values():
        if argument.kind not in {argument.VAR_POSITIONAL, argument.VAR_KEYWORD} and not argument.name.startswith("_"):
            assert f"{argument.name}:" in documented, argument.name


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'tfllm' has no attribute 'Clint'"):
        tfllm.Clint  # noqa: B018


@pytest.mark.parametrize(
    ("name", "blocked", "message"),
    [
        ("evaluate", "sklearn", "pip install 'tfllm[train]'"),
        ("TextClassifier", "keras", "pip install 'tfllm[train]'"),
        ("serve", "tensorflow", "pip install 'tfllm[server]'"),
    ],
)
def test_a_missing_extra_is_named(name, blocked, message):
    code = (
        "import sys\n"
        f"sys.modules[{blocked!r}] = None\n"
        "import tfllm\n"
        "try:\n"
        f"    tfllm.{name}\n"
        "except ImportError as error:\n"
        "    print(error, '|', error.name)\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f"tfllm.{name} needs the package '{blocked}" in shown
    assert message in shown


def test_there_are_examples_to_run():
    assert {"tfllm.data.sources", "tfllm.repository", "tfllm.errors"} <= set(MODULES)
    assert sum(len(examples_of(name)) for name in ("tfllm.data.schema", "tfllm.data.labels", "tfllm.repository")) >= 3


@pytest.mark.parametrize(
    "module", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in MODULES]
)
def test_the_examples_in_the_docstrings_run(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for test in examples_of(module):
        runner.run(test, out=said.append)
    assert not said, "".join(said)
