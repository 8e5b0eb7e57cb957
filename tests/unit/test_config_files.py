"""What lies in config/ loads, and what was written from the models is what they say now."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from connectomake.config.engine.compose import Presets
from connectomake.config.engine.schemas import documents, key_tables, preset_schema
from connectomake.config.engine.variants import load_run, read_run
from connectomake.config.engine.yaml_files import read_yaml
from connectomake.config.section import Section
from connectomake.config.stages import STAGES
from connectomake.errors import ConfigError

ROOT = Path(__file__).parents[2]
PRESETS = sorted((stage, file.stem) for stage in STAGES for file in (ROOT / "config" / stage).glob("*.yaml"))
EXPERIMENTS = sorted(file.stem for file in (ROOT / "config/experiments").glob("*.yaml"))
FILES = sorted((ROOT / "config").rglob("*.yaml"))


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def needs_download(experiment: str) -> bool:
    data = yaml.safe_load((ROOT / f"config/experiments/{experiment}.yaml").read_text())["data"]
    return data == "cellmap" and not (ROOT / "../cellmap/data").is_dir()


@pytest.mark.parametrize(("stage", "name"), PRESETS, ids=map("/".join, PRESETS))
def test_every_preset_loads(stage: str, name: str) -> None:
    assert isinstance(Presets(ROOT).get(stage, name, "the test").settings, STAGES[stage])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_loads(name: str) -> None:
    if needs_download(name):
        pytest.skip("the crops of the CellMap challenge are not at ../cellmap")
    assert {variant.experiment for variant in load_run({"experiments": name}, ROOT)} == {name}


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if needs_download(name)])
def test_an_experiment_without_its_data_says_where_they_come_from(name: str) -> None:
    with pytest.raises(ConfigError, match=r"config/data/cellmap\.yaml: cellmap: .*csc fetch-data"):
        load_run({"experiments": name}, ROOT)


def test_the_config_that_snakemake_reads_loads() -> None:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())  # as Snakemake does
    assert read_run(config).results == "results"
    assert [variant.experiment for variant in load_run(config, ROOT)] == ["phantom", "cellmap_mini"]


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in ("data", "phantom")])
def test_every_stage_has_a_default_preset(stage: str) -> None:
    assert (stage, "default") in PRESETS


def test_the_sweep_of_the_demo_shares_one_prediction() -> None:
    variants = load_run({"experiments": "phantom_sweep"}, ROOT)
    assert len({variant.chain("decode") for variant in variants}) == len(variants) > 1
    assert {variant.chain("predict") for variant in variants} == {
        variant.chain("predict") for variant in load_run({"experiments": "phantom"}, ROOT)
    }


@pytest.fixture(scope="module")
def written() -> dict[Path, str]:
    """Return every file that is written from the models, with what they say now."""
    return documents(ROOT)


def test_what_is_written_from_the_models_is_up_to_date(written: dict[Path, str]) -> None:
    stale = [name_of(file) for file, text in written.items() if not file.exists() or file.read_text() != text]
    assert stale == [], "run: cd scripts && python -m connectomake.config.engine.schemas"


def test_no_schema_is_left_of_a_stage_that_is_gone(written: dict[Path, str]) -> None:
    assert set((ROOT / "workflow/schemas").glob("*.json")) == {file for file in written if file.suffix == ".json"}


@cache
def validator_of(schema: Path) -> Any:
    """Read a schema, which has to be a right one."""
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(json.loads(schema.read_text()))
    return Draft202012Validator(json.loads(schema.read_text()))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_every_file_fits_the_schema_that_editors_see(file: Path) -> None:
    pytest.importorskip("jsonschema")
    named = file.read_text().splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    validator_of((file.parent / named).resolve()).validate(read_yaml(file, name_of(file)))


@pytest.mark.parametrize("stage", STAGES)
def test_a_schema_allows_parts_of_a_preset_and_no_unknown_key(stage: str) -> None:
    validators = pytest.importorskip("jsonschema")
    check: Any = validators.Draft202012Validator(preset_schema(STAGES[stage]))
    assert check.is_valid({})
    assert check.is_valid({"base": "default", "sweep": {"key": [1, 2]}})
    assert not check.is_valid({"sweep": {}})
    assert not check.is_valid({"no_such_key": 1})


def test_every_key_of_every_model_is_described() -> None:
    def undescribed(model: type[Section], above: str) -> list[str]:
        return [f"{above}.{name}" for name, field in model.model_fields.items() if not field.description]

    assert [key for stage, model in STAGES.items() for key in undescribed(model, stage)] == []


def test_the_table_goes_into_lists_unions_and_mappings() -> None:
    table = key_tables()
    for key in ("`volumes.NAME.role`", "`model.kernel_size`", "`losses[].weight`", "`decode`", "`results`"):
        assert f"| {key} |" in table
    assert "| `threshold` |  | number >= 0, < 1 | `0.5` |" in table
