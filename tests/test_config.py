from dataclasses import dataclass, field
from typing import Optional

import pytest

from tfllm.config import make_settings, read_toml, value_types
from tfllm.errors import ConfigError, UnknownSetting


@dataclass(frozen=True)
class Settings:
    name: str = "x"
    epochs: int = 3
    rate: float = 0.5
    limit: float | None = 1.0
    either: Optional[int] = None  # noqa: UP045
    number: int | float = 1
    flag: bool = False
    tags: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Required:
    name: str
    epochs: int = 3


def test_no_values_give_the_defaults():
    assert make_settings(Settings, {}) == Settings()


def test_values_of_the_right_type_are_taken():
    values = {"name": "y", "epochs": 5, "rate": 0.1, "limit": None, "either": 4, "flag": True}
    assert make_settings(Settings, values) == Settings(**values)


@pytest.mark.parametrize("name", ["rate", "limit"])
def test_a_whole_number_becomes_a_float(name):
    value = getattr(make_settings(Settings, {name: 2}), name)
    assert value == 2.0
    assert type(value) is float


def test_a_whole_number_stays_one_where_both_are_allowed():
    assert type(make_settings(Settings, {"number": 2}).number) is int


def test_an_unknown_setting_names_the_close_match():
    with pytest.raises(UnknownSetting, match=r"a setting of Settings. Received: epoch. Did you mean 'epochs'\?"):
        make_settings(Settings, {"epoch": 3})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("epochs", 2.5, "int"),
        ("epochs", True, "int"),
        ("rate", "fast", "float"),
        ("rate", False, "float"),
        ("limit", "x", "float or None"),
        ("either", "x", "int or None"),
        ("name", 1, "str"),
        ("name", None, "str"),
        ("flag", 1, "bool"),
    ],
)
def test_a_wrong_type_says_what_was_expected(name, value, expected):
    with pytest.raises(ConfigError, match=f"Expected {name} of type {expected}. Received: {name}="):
        make_settings(Settings, {name: value})


def test_a_setting_without_default_must_be_there():
    with pytest.raises(ConfigError, match="Expected a value for name of Required"):
        make_settings(Required, {"epochs": 1})
    assert make_settings(Required, {"name": "a"}) == Required("a")


def test_value_types():
    assert value_types(int) == (int,)
    assert value_types(int | None) == value_types(Optional[int]) == (int, type(None))  # noqa: UP045


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_read_toml(tmp_path, mark):
    file = tmp_path / "run.toml"
    file.write_bytes(mark + 'epochs = 3\nname = "é"\n'.encode())
    assert read_toml(file) == read_toml(str(file)) == {"epochs": 3, "name": "é"}


def test_toml_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match=r"run.toml', which is not there"):
        read_toml(tmp_path / "run.toml")


def test_a_folder_instead_of_toml(tmp_path):
    with pytest.raises(ConfigError, match="Expected a settings file that can be read"):
        read_toml(tmp_path)


@pytest.mark.parametrize(
    ("content", "place"),
    [(b"epochs = 1\nrate = \n", "line 2"), (b'name = "\xff"', "can't decode byte 0xff"), (b"a = 1\na = 2\n", "line 2")],
)
def test_toml_that_is_not_toml_names_the_place(tmp_path, content, place):
    file = tmp_path / "run.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"Expected TOML in '.*run.toml'. Received: .*{place}"):
        read_toml(file)
