"""The code hash changes with code and not with words; provenance lies beside the result."""

import json
import time

import pytest

from connectomake import provenance
from connectomake.config.settings.decode import DecodeConfig

CUT = """from connectomake.flow.paths import d
from connectomake.geometry import a
from connectomake.log import b


def cut():
    return a
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two modules, of which `decode` imports `geometry`."""
    (tmp_path / "decode").mkdir()
    (tmp_path / "decode/__init__.py").write_text("from connectomake.decode.cut import cut\n")
    (tmp_path / "decode/cut.py").write_text(CUT)
    (tmp_path / "geometry.py").write_text("a = 1\n")
    (tmp_path / "log.py").write_text("b = 1\n")
    (tmp_path / "measure.py").write_text("c = 1\n")
    (tmp_path / "flow").mkdir()
    (tmp_path / "flow/paths.py").write_text("d = 1\n")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    return tmp_path


def code_of_decode():
    for cached in (provenance._facts, provenance.code_of):
        cached.cache_clear()
    return provenance.code_of("decode")


@pytest.mark.parametrize(
    ("file", "text", "changes"),
    [
        ("decode/cut.py", CUT.replace("return", '"""Words."""\n    return') + "# words\n", False),
        ("decode/cut.py", CUT.replace("return a", "return a + 1"), True),
        ("geometry.py", "a = 2\n", True),
        ("log.py", "b = 2\n", False),
        ("flow/paths.py", "d = 2\n", False),
        ("measure.py", "c = 2\n", False),
        ("decode/more.py", "d = 1\n", True),
    ],
)
def test_code_of_sees_what_computes(package, file, text, changes):
    before = code_of_decode()
    (package / file).write_text(text)
    assert (code_of_decode() != before) is changes


@pytest.mark.parametrize(
    "damage", [lambda text: "{", lambda text: "[]", lambda text: text.replace("imports", "import")]
)
def test_a_record_that_is_damaged_or_of_other_code_is_made_anew(package, damage):
    before = code_of_decode()
    record = package / provenance.FACTS
    record.write_text(damage(record.read_text()).replace('"written by": [', '"written by": [1, '))
    assert code_of_decode() == before


def test_code_of_names_what_the_stages_compute_with():
    reached = provenance._reached(["decode"])
    assert {"geometry", "decode.components.components"} <= reached
    assert not any(name.split(".")[0] in provenance.NOT_SCIENCE for name in reached)


def test_provenance_lies_beside_the_store(tmp_path):
    output = tmp_path / "volume/labels.zarr/zarr.json"
    provenance.write_provenance("decode_affinities", {"cfg": DecodeConfig(), "threads": 2}, [output], time.time() - 3)
    written = json.loads((tmp_path / "volume/provenance/decode_affinities.json").read_text())
    assert written["arguments"]["cfg"]["threshold"] == DecodeConfig().threshold
    assert written["seconds"] >= 3
    assert written["versions"]["numpy"]
