"""YAML is read as it is meant, values as the model means them; every mistake is one line with file, line and key."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError

from connectomake.config.engine.explain import Layer, explain, nearest
from connectomake.config.engine.keys import parse_overrides, split_key
from connectomake.config.engine.yaml_files import line_of, parse_yaml, read_yaml
from connectomake.config.section import Section
from connectomake.errors import ConfigError


class Unet(Section):
    name: Literal["unet"] = "unet"
    filters: int = 32


class Mednext(Section):
    name: Literal["mednext"] = "mednext"
    kernel: int = Field(3, ge=1)


class Settings(Section):
    steps: int = Field(1000, ge=1)
    rate: float = 1e-3
    flip: bool = True
    mode: Literal["off", "fast", "exact"] = "off"
    label: str = ""
    patch_zyx_vx: tuple[int, int, int] = (32, 32, 32)
    model: Annotated[Unet | Mednext, Field(discriminator="name")] = Unet()
    weights: dict[str, float] = Field(default_factory=dict)
    either: bool | int = 0


def said(values: dict[str, Any], **layer: Any) -> str:
    """Return the line that wrong settings are answered with."""
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(values)
    return str(explain(caught.value, Settings, [Layer(**({"source": "a.yaml", "values": values} | layer))], "train"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("-7", -7),
        ("0x1F", 31),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("010", "010"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("'12'", "12"),
        ("1_000", "1_000"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    read = parse_yaml(f"key: {text}", "a.yaml")["key"]
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: [1,\n", 3, "not valid YAML"),
        ("a: 1\nb:\n  c: 1\n  c: 2\n", 4, "'c' is here twice"),
        ("a: 1\n\tb: 2\n", 2, "not valid YAML"),
        ("a: {{x}}\n", 1, "a key must be a word"),
        ("a: !!python/object:os.system {}\n", 1, "not valid YAML"),
    ],
)
def test_bad_yaml_is_told_by_file_and_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_yaml(tmp_path / "a.yaml", "config/a.yaml")
    assert str(caught.value).startswith(f"config/a.yaml:{line}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_merged_anchor_is_no_duplicate() -> None:
    assert parse_yaml("a: &a {x: 1, y: 1}\nb: {<<: *a, y: 2}", "a.yaml")["b"] == {"x": 1, "y": 2}


def test_a_file_is_a_mapping_or_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    assert read_yaml(tmp_path / "empty.yaml", "empty.yaml") == {}
    with pytest.raises(ConfigError, match="not a mapping"):
        read_yaml(tmp_path / "list.yaml", "list.yaml")
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(tmp_path / "none.yaml", "none.yaml")


def test_line_of_finds_nested_keys_and_items(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: 1\nb:\n  c:\n    - 1\n    - 2\n")
    assert line_of(tmp_path / "a.yaml", ["b", "c", 1]) == 5
    assert line_of(tmp_path / "a.yaml", ["b", "c"]) == 3
    assert line_of(tmp_path / "a.yaml", ["b", "missing"]) == 2
    assert line_of(tmp_path / "a.yaml", ["missing"]) is None


def test_text_is_read_as_the_field_means_it() -> None:
    read = Settings.model_validate(
        {"steps": "12", "rate": "1e-3", "flip": "no", "mode": "off", "label": 7, "patch_zyx_vx": ["1", "2", "3"]}
    )
    assert read == Settings(steps=12, rate=0.001, flip=False, label="7", patch_zyx_vx=(1, 2, 3))


@pytest.mark.parametrize(
    "values", [{"steps": True}, {"rate": False}, {"patch_zyx_vx": [True, 1, 1]}, {"mode": False}, {"label": True}]
)
def test_a_truth_value_is_no_number_and_no_word(values: dict[str, Any]) -> None:
    assert "put the word in quotes" in said(values)


def test_a_truth_value_is_kept_where_it_is_meant() -> None:
    assert Settings.model_validate({"flip": False, "either": True}).either is True


def test_an_unknown_key_is_told_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rate: 1.0\nstpes: 3\n")
    line = said({"rate": 1.0, "stpes": 3}, file=tmp_path / "a.yaml")
    assert line == "a.yaml:2: unknown key 'train.stpes'; did you mean 'steps'?"


def test_an_unknown_key_that_is_near_to_none_is_told_with_all() -> None:
    assert said({"colour": 1}).endswith("known: either, flip, label, mode, model, patch_zyx_vx, rate, steps, weights")


def test_an_unknown_key_inside_a_union_knows_its_keys() -> None:
    line = said({"model": {"name": "mednext", "kernal": 3}})
    assert line == "a.yaml: unknown key 'train.model.kernal'; did you mean 'kernel'?"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"steps": "many"}, "a.yaml: train.steps: wrong value; expected a valid integer; got 'many'"),
        ({"steps": 0}, "a.yaml: train.steps: wrong value; expected greater than or equal to 1; got 0"),
        ({"model": 3}, "a.yaml: train.model: wrong value"),
        ({"weights": {"one": "x"}}, "a.yaml: train.weights.one: wrong value; expected a valid number; got 'x'"),
        ({"patch_zyx_vx": [1, 2]}, "a.yaml: train.patch_zyx_vx.2 is missing: it has no default"),
        ({"model": {"name": "mednext", "kernel": 0}}, "a.yaml: train.model.kernel: wrong value"),
        ({"mode": "exakt"}, "did you mean 'exact'?"),
        ({"steps": 0, "rate": "x", "flip": 7}, "and 2 more"),
    ],
)
def test_a_wrong_value_is_one_line(values: dict[str, Any], line: str) -> None:
    assert line in said(values)
    assert "\n" not in said(values)


def test_an_error_is_told_where_the_value_was_written() -> None:
    layers = [
        Layer("base.yaml", {"steps": 5, "rate": 1.0}),
        Layer("preset.yaml", {"rate": "x"}),
        Layer("override", {"flip": True}),
    ]
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"steps": 5, "rate": "x", "flip": True})
    assert str(explain(caught.value, Settings, layers)).startswith("preset.yaml: rate: wrong value")


def test_nearest_lists_all_when_nothing_is_near() -> None:
    assert nearest("zzz", ["b", "a"]) == "known: a, b"
    assert nearest("zzz", []) == "known: none"


@pytest.mark.parametrize(
    "written",
    [
        {"train.steps": 100, "decode.threshold": 0.7, "train.patch_zyx_vx": [8, 8, 8]},
        {"train.steps": "100", "decode.threshold": "0.7", "train.patch_zyx_vx": ["8", "8", "8"]},
        ["train.steps=100", "decode.threshold=0.7", "train.patch_zyx_vx=[8, 8, 8]"],
        "train.steps=100 decode.threshold=0.7  train.patch_zyx_vx=[8, 8, 8]",
    ],
    ids=["mapping", "mapping as snakemake hands it on", "list", "text"],
)
def test_overrides_have_three_forms(written: Any) -> None:
    read = parse_overrides(written, "--config")
    assert read == {"train.steps": 100, "decode.threshold": 0.7, "train.patch_zyx_vx": [8, 8, 8]}


def test_no_overrides() -> None:
    assert [parse_overrides(nothing, "--config") for nothing in (None, {}, [], "")] == [{}] * 4


@pytest.mark.parametrize(
    ("written", "words"),
    [("steps", "stage.key=value"), ("a.b=1 a.b=2", "given twice"), ("a.b=[1,", "not valid YAML"), ("=3", "stage.key")],
)
def test_overrides_that_are_none(written: str, words: str) -> None:
    with pytest.raises(ConfigError, match="--config") as caught:
        parse_overrides(written, "--config")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "key", ["trian.steps", "train", "train.", "train..a", "sweep.train", "train.base", "train.sweep.a"]
)
def test_a_dotted_key_starts_with_a_stage_and_goes_on(key: str) -> None:
    with pytest.raises(ConfigError, match=r"^here: ") as caught:
        split_key(key, "here")
    assert "\n" not in str(caught.value)
