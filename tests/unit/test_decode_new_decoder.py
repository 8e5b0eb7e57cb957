"""A decoder is one file and one line: with these alone, settings, checks, plans, decoding and reruns know it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from connectomake.config.stages import STAGES
from connectomake.provenance import PACKAGE

TOY = '''"""The decoder `toy`: a voxel is an object where the first channel is high enough."""

from typing import Annotated

from pydantic import Field

from connectomake.channels import find_named
from connectomake.config.section import Section
from connectomake.config.settings.decode_decoders import SIZE, Decoder


class ToyConfig(Section):
    """Nothing but a level."""

    level: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="a voxel is in an object above this")


def decode_toy(maps, cfg, *, channels, threads=1):
    import numpy as np

    from connectomake.decode.postprocess import drop_small

    return drop_small((maps[0] > cfg.own(ToyConfig).level).astype(np.uint32), cfg)


DECODER = Decoder(
    summary="one object, above a level",
    decode=decode_toy,
    reads="a channel named affinity z+1",
    find_channels=lambda own, channels: find_named(channels, ["affinity z+1"]),
    shared=SIZE,
    settings=ToyConfig,
    mvoxel_per_s=2.0,
    bytes_per_voxel=1000,
    blocks="no",
)
'''

USED = """
import json, sys
from pathlib import Path

from connectomake.config.settings.decode_decoders import DECODERS

DECODERS.add("toy", "connectomake.decode.decoders.toy:DECODER")

from pydantic import ValidationError
from connectomake.config.engine.variants import load_run
from connectomake.config.settings.decode import DecodeConfig
from connectomake.errors import ConfigError

def load(decode="toy", **override):
    return load_run({"experiments": {"mine": {"data": "tiny", "decode": decode, "override": override}}}, Path("."))

def refusal(**override):
    try:
        load(**override)
    except ConfigError as error:
        return str(error)

told = {}
[variant] = load()
cfg = variant.decode
told["settings"] = cfg.model_dump(mode="json")
told["refused"] = [
    refusal(**override)
    for override in (
        {"decode.toy.level": 2},
        {"decode.toy.levle": 0.7},
        {"decode.threshold": 0.7},
        {"decode.waterz.threshold": 0.7},
        {"decode.block_zyx_vx": [64, 64, 64]},
        {"decode.decoder": "toi"},
        {"decode.decoder": "affinity_cc"},
        {"train.targets.affinity.offsets_zyx_vx": [[2, 0, 0], [0, 1, 0], [0, 0, 1]]},
    )
]
schema = DecodeConfig.model_json_schema()
told["schema"] = [schema["properties"]["decoder"], schema["properties"]["toy"], schema["$defs"]["ToyConfig"]]
told["heavy"] = [name for name in ("numpy", "numba", "torch", "zarr") if name in sys.modules]

import numpy as np
from connectomake import provenance
from connectomake.decode import decode
from connectomake.decode.whole import estimate_memory_bytes
from test_planning import make_work, rows_of

maps = np.zeros((3, 1, 1, 4), np.float32)
maps[0, 0, 0] = [0.6, 0.8, 0.9, 0.1]
told["labels"] = decode(maps, cfg)[0, 0].tolist()
small = decode(maps, cfg.model_copy(update={"min_size_vx": 3}))
told["small"] = small[0, 0].tolist()
plain = DecodeConfig()
sizes = [estimate_memory_bytes((10, 10, 10), np.dtype(np.uint8), each) for each in (cfg, plain)]
told["more_memory"] = sizes[0] - sizes[1]
planned = rows_of(make_work((100, 1000, 1000), decode=cfg.model_dump(mode="json")))["decode", "big"]
told["planned"] = [planned.told_by, planned.cpu_hours * 3600]
told["modules"] = cfg.modules

def codes():
    provenance._facts.cache_clear()
    provenance.code_of.cache_clear()
    return [provenance.code_of(*each.modules) for each in (cfg, plain)]

before = codes()
toy = Path(provenance.PACKAGE, "decode/decoders/toy.py")
toy.write_text(toy.read_text().replace("maps[0] >", "maps[0] >="))
told["changed"] = [one != other for one, other in zip(before, codes(), strict=True)]
Path("told.json").write_text(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What a copy of the package tells of a decoder that it got by one file and one line."""
    folder = tmp_path_factory.mktemp("toy")
    shutil.copytree(PACKAGE, folder / "scripts/connectomake", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "scripts/connectomake/decode/decoders/toy.py").write_text(TOY)
    for stage in STAGES:
        (folder / "config" / stage).mkdir(parents=True)
        (folder / "config" / stage / "default.yaml").write_text("")
    (folder / "config/data/tiny.yaml").write_text("volumes:\n  one: {phantom: default, role: train}\n")
    (folder / "config/decode/toy.yaml").write_text("decoder: toy\ntoy:\n  level: 0.7\n")
    path = os.pathsep.join(map(str, (folder / "scripts", Path(__file__).parent)))
    ran = subprocess.run(
        [sys.executable, "-c", USED],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads((folder / "told.json").read_text())


def test_a_preset_names_it_and_sets_what_is_its_own(told):
    assert told["settings"]["decoder"] == "toy"
    assert told["settings"]["toy"] == {"level": 0.7}


def test_wrong_settings_are_refused_in_one_line(told):
    expected = [
        "decode.toy.level",
        "did you mean 'level'",
        "decode.threshold changes nothing: decoder is toy",
        "decode.waterz.threshold changes nothing: decoder is toy",
        "decoder toy needs the whole volume: set block_zyx_vx: null",
        "got 'toi'; did you mean 'toy'",
        "decode.toy.level changes nothing: decoder is affinity_cc",
        "decode.decoder: toy reads a channel named affinity z+1, which are not there",
    ]
    for problem, said in zip(expected, told["refused"], strict=True):
        assert problem in (said or "nothing"), told["refused"]
        assert "\n" not in said


def test_the_schema_has_it(told):
    decoder, section, settings = told["schema"]
    assert decoder["enum"][-1] == "toy"
    assert decoder["description"].endswith("; toy = one object, above a level")
    assert section["description"] == "settings of decoder: toy"
    assert list(settings["properties"]) == ["level"]


def test_settings_load_no_arrays(told):
    assert told["heavy"] == []


def test_it_decodes(told):
    assert told["labels"] == [0, 1, 1, 0]
    assert told["small"] == [0, 0, 0, 0]


def test_it_is_planned_with_its_speed_and_memory(told):
    assert told["planned"][0] == "header; 2 Mvoxel/s and core (toy), default rate"
    assert told["planned"][1] == pytest.approx(50)
    assert told["more_memory"] == 1000 * 1000


def test_its_code_counts_for_what_it_decodes_alone(told):
    assert told["modules"] == ["decode.whole", "decode.decoders.toy"]
    assert told["changed"] == [True, False]
