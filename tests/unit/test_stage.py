"""A stage's signature is bound to a Snakemake job or to flags, and its errors are one line."""

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from by_hand import run_by_hand

from connectomake.config.settings.decode import DecodeConfig
from connectomake.errors import ConfigError
from connectomake.stage import bind_flags, bind_job, run


class Named(dict):
    """What Snakemake's Namedlist is to us: a list of values, some with names."""

    def __iter__(self):
        return iter(self.values())


def decode(
    *, raw: Path, labels: Path, cfg: DecodeConfig, many: list[Path] = (), truth: Path | None = None, threads: int = 1
):
    """Stand for a stage."""


def job(**changes):
    parts = {
        "rule": "decode",
        "input": Named(raw="a.json", many=["b", "c"]),
        "output": Named(labels="out/labels.zarr/zarr.json"),
        "params": Named(cfg={"threshold": 0.7}, code="123"),
        "resources": Named(),
        "threads": 3,
        "log": ["x.log"],
    }
    return SimpleNamespace(**{**parts, **changes})


def test_a_job_is_bound_by_name():
    call = bind_job(decode, job())
    assert call.arguments == {
        "raw": Path("a.json"),
        "labels": Path("out/labels.zarr/zarr.json"),
        "cfg": DecodeConfig(threshold=0.7),
        "many": [Path("b"), Path("c")],
        "threads": 3,
    }
    assert call.log_file == Path("x.log")
    assert call.outputs == [Path("out/labels.zarr/zarr.json")]


def test_a_job_without_a_value_names_the_parameter():
    with pytest.raises(ConfigError, match="'raw'"):
        bind_job(decode, job(input=Named()))


def test_wrong_settings_of_a_job_name_the_nearest_key():
    with pytest.raises(ConfigError, match=r"thresholt.*threshold"):
        bind_job(decode, job(params=Named(cfg={"thresholt": 1})))


def test_an_optional_input_may_be_empty():
    assert bind_job(decode, job(input=Named(raw="a", truth=[]))).arguments["truth"] is None


def test_flags_are_made_of_the_signature(tmp_path):
    preset = tmp_path / "preset.yaml"
    preset.write_text("threshold: 0.6\nmin_size_vx: 9\n")
    call = bind_flags(
        decode,
        [
            "--raw",
            "a",
            "--labels",
            "b",
            "--many",
            "c",
            "d",
            "--config",
            str(preset),
            "--set",
            "threshold=0.8",
            "--threads",
            "2",
        ],
    )
    assert call.arguments["cfg"] == DecodeConfig(threshold=0.8, min_size_vx=9)
    assert call.arguments["many"] == [Path("c"), Path("d")]
    assert call.arguments["threads"] == 2
    assert "truth" not in call.arguments or call.arguments["truth"] is None


def test_a_missing_settings_file_is_named():
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        bind_flags(decode, ["--raw", "a", "--labels", "b", "--config", "nowhere.yaml"])


def test_set_needs_a_value():
    with pytest.raises(ConfigError, match="key=value"):
        bind_flags(decode, ["--raw", "a", "--labels", "b", "--set", "threshold"])


def check(submission: Path, *, manifest: Path | None = None, status: int = 0) -> int:
    """Stand for a stage that says by its exit status how it went."""
    return status


def test_a_parameter_before_the_star_has_no_flag():
    assert bind_flags(check, ["a.zip", "--manifest", "b.csv"]).arguments == {
        "submission": Path("a.zip"),
        "manifest": Path("b.csv"),
        "status": 0,
    }
    assert bind_job(check, job(input=Named(submission="a.zip"))).arguments == {"submission": Path("a.zip")}


@pytest.mark.parametrize("argv", [[], ["a.zip", "b.zip"], ["--submission", "a.zip"]])
def test_wrong_use_exits_with_2(argv, capsys):
    with pytest.raises(SystemExit) as told:
        bind_flags(check, argv)
    assert told.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("status", [0, 1, 3])
def test_what_a_stage_returns_is_the_exit_status(monkeypatch, status):
    monkeypatch.setattr("connectomake.stage.setup_logging", lambda log_file: None)  # it stays for all tests that follow
    monkeypatch.setattr(sys, "argv", ["check", "a.zip", "--status", str(status)])
    with pytest.raises(SystemExit) if status else nullcontext() as told:
        run(check)
    assert told is None or told.value.code == status


def test_a_job_that_returns_a_status_still_says_what_was_run(monkeypatch, tmp_path):
    parts = {"input": Named(submission="a.zip"), "output": Named(found=str(tmp_path / "check.json"))}
    given = job(**parts, params=Named(status=1), log=[])
    monkeypatch.setattr("connectomake.stage.setup_logging", lambda log_file: None)
    monkeypatch.setattr(sys.modules["__main__"], "snakemake", given, raising=False)
    with pytest.raises(SystemExit) as told:
        run(check)
    assert told.value.code == 1
    assert list((tmp_path / "provenance").glob("*.json"))


SCRIPTS = sorted((Path(__file__).parents[2] / "scripts").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_every_stage_script_shows_help(script, monkeypatch, capsys):
    assert run_by_hand(monkeypatch, script.stem, ["--help"]) == 0
    assert f"usage: {script.stem}" in capsys.readouterr().out


def test_a_stage_script_is_a_program(project):
    command = [sys.executable, str(project / "scripts/make_datasplit.py"), "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "usage" in told.stdout


def test_an_error_by_hand_is_one_line(tmp_path, project):
    told = subprocess.run(
        [
            sys.executable,
            str(project / "scripts/make_datasplit.py"),
            "--volumes",
            str(tmp_path / "no.json"),
            "--table",
            str(tmp_path / "t"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 1
    assert "no.json" in told.stderr
    assert "Traceback" not in told.stderr
