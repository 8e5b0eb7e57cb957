"""`--like provenance/X.json`: a stage script runs with the arguments that a job had, but for those given by hand."""

import json
import sys
import time
from pathlib import Path

import pytest

from connectomake.config.settings.decode import DecodeConfig
from connectomake.config.settings.decode_tune import TuneConfig
from connectomake.errors import ConfigError, ConnectomakeError
from connectomake.provenance import write_provenance
from connectomake.stage import bind_flags, run

STAGE = Path(__file__).stem  # of the functions below, as by hand it is the name of the script
PRESET = DecodeConfig(threshold=0.7, min_size_vx=9, tune=TuneConfig(method="optuna", search={"threshold": (0.2, 0.9)}))


def decode(
    *,
    raw: Path,
    labels: Path,
    cfg: DecodeConfig,
    many: list[Path] = (),
    truth: Path | None = None,
    second: TuneConfig | None = None,
    fast: bool = False,
    part: float = 0.5,
    threads: int = 1,
) -> None:
    """Stand for a stage."""


def check(submission: Path, *, manifest: Path | None = None) -> int:
    """Stand for a stage with a parameter that has no flag."""
    return 0


ARGUMENTS = {
    "raw": Path("a.json"),
    "labels": Path("out/labels.zarr/zarr.json"),
    "cfg": PRESET,
    "many": [Path("b"), Path("c")],
    "truth": None,
    "second": None,
    "fast": True,
    "part": 0.25,
    "threads": 3,
}


@pytest.fixture
def record(tmp_path):
    """Write what was run, as a job does; give the file."""

    def write(arguments=ARGUMENTS, stage=STAGE, **more):
        write_provenance(stage, arguments, [tmp_path / "labels.zarr/zarr.json"], time.time(), **more)
        return tmp_path / f"provenance/{stage}.json"

    return write


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


def test_a_job_is_replayed_with_the_arguments_that_it_had(record):
    assert bind_flags(decode, ["--like", str(record())]).arguments == ARGUMENTS


@pytest.mark.parametrize(
    ("flags", "changes"),
    [
        (["--labels", "mine.zarr"], {"labels": Path("mine.zarr")}),
        (["--threads", "1"], {"threads": 1}),
        (["--no-fast", "--part", "0.5"], {"fast": False, "part": 0.5}),  # though these are the defaults
        (["--many", "d"], {"many": [Path("d")]}),
        (["--truth", "t"], {"truth": Path("t")}),
        (["--set", "threshold=0.8"], {"cfg": PRESET.model_copy(update={"threshold": 0.8})}),
        (["--set", "second.trials=7"], {"second": TuneConfig(trials=7)}),
    ],
)
def test_what_is_given_by_hand_wins(record, flags, changes):
    given = record()
    for like in (["--like", str(given)], [f"--like={given}"], ["--lik", str(given)]):
        assert bind_flags(decode, [*like, *flags]).arguments == ARGUMENTS | changes


def test_a_file_of_settings_is_taken_for_the_recorded_ones_as_a_whole(record, tmp_path):
    preset = tmp_path / "preset.yaml"
    preset.write_text("min_size_vx: 4\n")
    call = bind_flags(decode, ["--like", str(record()), "--config", str(preset)])
    assert call.arguments == ARGUMENTS | {"cfg": DecodeConfig(min_size_vx=4)}


def test_a_parameter_without_a_flag_is_recorded_too(record):
    given = record({"submission": Path("a.zip"), "manifest": Path("b.csv")})
    assert bind_flags(check, ["--like", str(given)]).arguments["submission"] == Path("a.zip")
    by_hand = {"submission": Path("c.zip"), "manifest": Path("b.csv")}
    assert bind_flags(check, ["c.zip", "--like", str(given)]).arguments == by_hand


def test_a_job_of_a_rule_with_another_name_is_replayed_by_its_script(record):
    assert bind_flags(decode, ["--like", str(record(stage="decode_twice", script=STAGE))]).arguments == ARGUMENTS


def test_a_default_stands_where_an_older_record_says_nothing(record):
    given = record({name: ARGUMENTS[name] for name in ("raw", "labels")})
    call = bind_flags(decode, ["--like", str(edit(given, script=None)), "--set", "threshold=0.8"])
    assert call.arguments["cfg"] == DecodeConfig(threshold=0.8)
    assert call.arguments["part"] == 0.5


def test_what_cannot_be_replayed_is_one_line(record, tmp_path):
    given = record()

    def refusal(*flags, like=given, of=decode):
        with pytest.raises(ConnectomakeError) as told:
            bind_flags(of, ["--like", str(like), *flags])
        assert "\n" not in str(told.value)
        return str(told.value)

    assert refusal(like=tmp_path / "no.json") == f"{tmp_path / 'no.json'} does not exist"
    assert "cannot be read" in refusal(like=tmp_path)
    (tmp_path / "broken.json").write_text('{"stage"')
    assert "broken.json is not valid JSON" in refusal(like=tmp_path / "broken.json")
    for text in ("[]", "{}", '{"stage": "x", "arguments": 3}'):
        (tmp_path / "volume.json").write_text(text)
        assert "volume.json does not say what was run" in refusal(like=tmp_path / "volume.json")
    other = refusal(like=record(stage="train_model"))
    assert other.endswith(f"is of another stage; expected {STAGE}; got train_model")
    gone = refusal(of=check)
    assert "there is no argument 'raw' any more; expected ['submission', 'manifest']; check out the commit" in gone
    few = record({name: ARGUMENTS[name] for name in ("labels", "cfg")})
    assert refusal(like=few).endswith("it has no 'raw', which must be there; give --raw too")
    assert "it has no 'submission', which must be there; give SUBMISSION too" in refusal(like=record({}), of=check)
    assert "thresholt" in refusal("--set", "thresholt=1", like=record())


def test_wrong_settings_in_a_record_name_the_key(record):
    given = record()
    edit(given, arguments=json.loads(given.read_text())["arguments"] | {"cfg": {"thresholt": 0.5}})
    with pytest.raises(ConfigError, match=r"thresholt.*threshold"):
        bind_flags(decode, ["--like", str(given)])


def test_a_replay_that_is_recorded_can_be_replayed(record, tmp_path, monkeypatch):
    monkeypatch.setattr("connectomake.stage.setup_logging", lambda log_file: None)  # it stays for all tests that follow
    output = tmp_path / "again/labels.zarr/zarr.json"
    monkeypatch.setattr(sys, "argv", ["decode", "--like", str(record()), "--record", str(output), "--threads", "2"])
    run(decode)
    again = tmp_path / f"again/provenance/{STAGE}.json"
    assert bind_flags(decode, ["--like", str(again)]).arguments == ARGUMENTS | {"threads": 2}


def test_help_shows_it(capsys):
    with pytest.raises(SystemExit):
        bind_flags(decode, ["--help"])
    assert "--like RECORD" in capsys.readouterr().out
