"""Different settings have different ids; one setting has one id, however it is written."""

import json
import re
from typing import Any, Literal, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, model_validator

from connectomake.config.engine.compose import Preset
from connectomake.config.engine.explain import Layer
from connectomake.config.engine.ids import LONGEST, name_settings
from connectomake.config.engine.layers import compose, merge, nest
from connectomake.config.section import Section


class Adam(Section):
    name: Literal["adam"] = "adam"
    rate: float = 0.1
    beta: float = 0.9


class Sgd(Section):
    name: Literal["sgd"] = "sgd"
    rate: float = 0.1


class Settings(Section):
    count: int = 1
    share: float = 0.5
    flag: bool = False
    word: str = "none"
    number_or_word: int | float | bool | str | None = None
    triple_zyx: tuple[int, int, int] = (1, 2, 3)
    many: tuple[int | float | str, ...] | str = ()
    weights: dict[str, float] = Field(default={"a.b": 1.0, "a": 2.0})
    optimiser: Adam | Sgd = Field(Adam(), discriminator="name")
    stride: int | None = None

    @model_validator(mode="after")
    def _fill(self) -> Self:
        """Fill in a default that follows from another key, as models do."""
        if self.stride is None:
            object.__setattr__(self, "stride", self.count * 2)
        return self


PRESET = Preset("train", "default", (Layer("default.yaml", {"count": 3}),), {}, Settings(count=3))

FLOATS = st.floats(-1e20, 1e20, allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, 1e-5, 0.5, 1e16])
WORDS = st.text(max_size=6) | st.sampled_from(["none", "true", "x", "1x2", "3x", "1", "0.5", "a/b", "a,b=c", "..", "~"])
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | FLOATS | WORDS
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "count": st.integers(0, 4),
        "share": FLOATS,
        "flag": st.booleans(),
        "word": WORDS,
        "number_or_word": SCALARS,
        "triple_zyx": st.lists(st.integers(-9, 99), min_size=3, max_size=3),
        "many": st.lists(st.integers(0, 3) | FLOATS | WORDS, max_size=3) | WORDS,
        "weights": st.dictionaries(st.sampled_from(["a", "a.b", "c", "a b"]), FLOATS, max_size=2),
        "optimiser": st.fixed_dictionaries({"name": st.sampled_from(["adam", "sgd"])}, optional={"rate": FLOATS}),
        "stride": st.integers(0, 8),
    },
)


def settle(changes: dict[str, Any]) -> Settings:
    return Settings.model_validate(compose([*PRESET.layers, Layer("override", changes)]))


def plain(value: Any) -> Any:
    """Return what makes settings different: JSON without the order of keys and the sign of zero."""
    if isinstance(value, Section):
        return json.dumps(plain(value.model_dump(mode="json")), sort_keys=True)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return 0.0 if isinstance(value, float) and value == 0 else value


@settings(max_examples=400, deadline=None)
@given(CHANGES, CHANGES, st.data())
def test_ids_are_equal_if_and_only_if_settings_are(
    one: dict[str, Any], other: dict[str, Any], data: st.DataObject
) -> None:
    if data.draw(st.booleans(), label="differ in one key at most"):
        key = data.draw(st.sampled_from(sorted({*one, *other, "count"})))
        other = {**one, key: other.get(key, 3)} if key in other or key == "count" else one
    a, b = settle(one), settle(other)
    assert (name_settings(PRESET, a) == name_settings(PRESET, b)) == (plain(a) == plain(b))


@given(CHANGES, st.randoms(use_true_random=False))
def test_an_id_does_not_depend_on_the_order_or_the_form_of_the_keys(changes: dict[str, Any], random: Any) -> None:
    keys = list(changes)
    random.shuffle(keys)
    dotted: dict[str, Any] = {}
    for key in keys:
        dotted = merge(dotted, nest((key,), changes[key]))
    assert name_settings(PRESET, settle(dotted)) == name_settings(PRESET, settle(changes))


@given(CHANGES)
def test_an_id_is_a_safe_and_short_file_name(changes: dict[str, Any]) -> None:
    name = name_settings(PRESET, settle(changes))
    assert re.fullmatch(r"default(@[A-Za-z0-9_.=-]+)*", name)
    assert len(name) <= LONGEST


@given(CHANGES)
def test_what_equals_the_preset_is_left_out(changes: dict[str, Any]) -> None:
    restated = {**{key: value for key, value in PRESET.settings.model_dump().items() if key == "count"}, **changes}
    assert name_settings(PRESET, settle(restated)) == name_settings(PRESET, settle(changes))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "default"),
        ({"share": 0.7}, "default@share=0.7"),
        ({"share": 1e-5, "flag": True}, "default@flag=true@share=1e-05"),
        ({"triple_zyx": [8, 64, 64]}, "default@triple_zyx=8x64x64"),
        ({"number_or_word": "fast"}, "default@number_or_word=fast"),
        ({"count": 5}, "default@count=5"),
        ({"optimiser": {"name": "sgd"}}, "default@optimiser.name=sgd"),
    ],
)
def test_ids_are_readable_and_say_no_more_than_they_must(changes: dict[str, Any], name: str) -> None:
    assert name_settings(PRESET, settle(changes)) == name


@pytest.mark.parametrize("changes", [{"word": "a/b"}, {"word": "true"}, {"many": [1, 2] * 40}, {"weights": {"a.b": 3}}])
def test_what_cannot_be_written_becomes_a_hash(changes: dict[str, Any]) -> None:
    assert re.fullmatch(r"default@[0-9a-f]{10}", name_settings(PRESET, settle(changes)))


@pytest.mark.parametrize(
    ("changes", "readable"),
    [
        ({"word": "a/b", "count": 5, "share": 0.25}, "count=5@share=0.25"),
        ({"many": [1, 2] * 40, "flag": True}, "flag=true"),
        ({"many": [10] * 40, "stride": 7, "count": 5}, "count=5@stride=7"),
    ],
)
def test_what_can_be_written_stands_before_the_hash_of_all(changes: dict[str, Any], readable: str) -> None:
    assert re.fullmatch(rf"default@{readable}@[0-9a-f]{{10}}", name_settings(PRESET, settle(changes)))
