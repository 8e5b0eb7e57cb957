"""A registry loads what it names when it is asked for, and refuses what is not there or is there twice."""

import sys

import pytest

from connectomake.errors import ConfigError
from connectomake.registry import Registry


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """Two modules in a temporary folder, and a registry that names one of them."""
    for name in ("toy_first", "toy_second"):
        (tmp_path / f"{name}.py").write_text(f"TOY = {name!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield Registry[str]("toy", {"first": "toy_first:TOY"})
    for name in ("toy_first", "toy_second"):
        sys.modules.pop(name, None)


def test_a_thing_is_loaded_when_it_is_asked_for_and_not_before(toys):
    assert (list(toys), len(toys), "first" in toys) == (["first"], 1, True)
    assert "toy_first" not in sys.modules
    assert toys["first"] == "toy_first"
    assert toys.module_of("first") == "toy_first"


def test_a_thing_from_elsewhere_can_be_added_once(toys):
    toys.add("second", "toy_second:TOY")
    toys.add("second", "toy_second:TOY")
    assert dict(toys) == {"first": "toy_first", "second": "toy_second"}
    with pytest.raises(ConfigError, match="a toy named 'second' already"):
        toys.add("second", "toy_first:TOY")


def test_a_name_that_is_not_there_is_one_line_with_the_nearest(toys):
    with pytest.raises(ConfigError, match=r"no such toy; expected first; got frist; did you mean 'first'\?"):
        toys["frist"]
    with pytest.raises(ConfigError, match="got other"):
        toys.module_of("other")
    assert "frist" not in toys
