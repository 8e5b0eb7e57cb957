import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from connectomake import ledger as blocks
from connectomake.errors import DataError, MissingDataError, ResumeMismatchError
from connectomake.ledger import Ledger, compare_settings, fix_settings, hash_settings, job_name

SETTINGS = {"window_zyx_vx": (8, 8, 8), "model": {"hash": "ab", "width": 4}}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "affinities.zarr" / "ledger"


def test_marks_are_seen_by_every_later_reader(folder):
    first = Ledger(folder, SETTINGS)
    assert first.done() == set()
    first.mark(4, job_name(1, 3))
    first.mark(1, job_name(1, 3))
    second = Ledger(folder, SETTINGS)
    second.mark(2, job_name(2, 3))
    assert first.done() == second.done() == Ledger.open(folder).done() == {1, 2, 4}


def test_a_job_that_starts_again_keeps_what_it_had(folder):
    Ledger(folder, SETTINGS).mark(0, "0-of-2")
    Ledger(folder, SETTINGS).mark(2, "0-of-2")
    assert Ledger(folder, SETTINGS).done() == {0, 2}


def test_another_number_of_jobs_uses_what_is_done(folder):
    Ledger(folder, SETTINGS).mark(5, "1-of-2")
    ledger = Ledger(folder, SETTINGS)
    ledger.mark(6, "0-of-7")
    assert ledger.done() == {5, 6}


def test_a_job_writes_only_its_own_file(folder):
    ledger = Ledger(folder, SETTINGS)
    ledger.mark(0, "0-of-2")
    before = (folder / "0-of-2.json").stat()
    ledger.mark(1, "1-of-2")
    after = (folder / "0-of-2.json").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert sorted(path.name for path in folder.iterdir()) == ["0-of-2.json", "1-of-2.json", "settings.json"]


@pytest.mark.parametrize("name", ["3", "3-of-", "../3-of-8", "3-of-8.json", ""])
def test_a_job_of_another_name_is_refused(folder, name):
    with pytest.raises(DataError, match="3-of-8"):
        Ledger(folder, SETTINGS).mark(0, name)


@pytest.mark.parametrize(
    "content",
    [
        '{"settings_hash": "HASH", "blo',
        "",
        "[1, 2]",
        '{"blocks": [7]}',
        '{"settings_hash": "HASH", "blocks": [7, "8"]}',
        '{"settings_hash": "HASH", "blocks": [true]}',
        '{"settings_hash": "HASH", "blocks": 7}',
        '{"settings_hash": "of another run", "blocks": [7]}',
        "\x00\x00",
    ],
)
def test_a_damaged_or_foreign_file_counts_as_nothing_and_is_told(folder, content, caplog):
    ledger = Ledger(folder, SETTINGS)
    ledger.mark(1, "1-of-2")
    (folder / "0-of-2.json").write_text(content.replace("HASH", ledger.settings_hash))
    assert ledger.done() == {1}
    assert "0-of-2.json" in caplog.text
    ledger.mark(0, "0-of-2")
    assert Ledger(folder, SETTINGS).done() == {0, 1}


@pytest.mark.parametrize("name", [".3-of-8.json.partial", ".3-of-8.0123.partial.json", "notes.json", "3-of-8.txt"])
def test_files_of_other_names_are_not_read(folder, name, caplog):
    ledger = Ledger(folder, SETTINGS)
    (folder / name).write_text(json.dumps({"settings_hash": ledger.settings_hash, "blocks": [7]}))
    assert ledger.done() == set()
    assert caplog.text == ""


def test_other_settings_are_refused_by_name_with_both_values(folder):
    Ledger(folder, SETTINGS)
    other = {"window_zyx_vx": (8, 8, 16), "model": {"hash": "ab", "depth": 2}}
    with pytest.raises(ResumeMismatchError) as raised:
        Ledger(folder, other)
    text = str(raised.value)
    assert "window_zyx_vx was [8, 8, 8], is now [8, 8, 16]" in text
    assert "model.width was 4, is now (absent)" in text
    assert "model.depth was (absent), is now 2" in text
    assert "hash" not in text
    assert str(folder.parent) in text
    assert "snakemake purge" in text


def test_the_order_of_keys_and_tuples_for_lists_make_no_difference(folder):
    Ledger(folder, SETTINGS).mark(3, "0-of-1")
    same = {"model": {"width": 4, "hash": "ab"}, "window_zyx_vx": [8, 8, 8]}
    assert Ledger(folder, same).done() == {3}
    assert hash_settings(same) == hash_settings(SETTINGS)


def test_settings_can_be_fixed_without_a_ledger(tmp_path):
    assert fix_settings(tmp_path / "run", SETTINGS) == {"window_zyx_vx": [8, 8, 8], "model": {"hash": "ab", "width": 4}}
    with pytest.raises(ResumeMismatchError, match=r"run was begun with other settings: a was \(absent\), is now 1"):
        fix_settings(tmp_path / "run", {**SETTINGS, "a": 1})


def test_unreadable_settings_are_refused(folder):
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text('{"settings":')
    with pytest.raises(ResumeMismatchError, match=r"settings\.json"):
        Ledger(folder, SETTINGS)


def test_opening_what_nobody_began_is_refused(folder):
    with pytest.raises(MissingDataError, match="nothing was begun"):
        Ledger.open(folder)


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_jobs_that_begin_at_once_agree(folder, monkeypatch, links):
    if not links:
        monkeypatch.setattr(blocks.os, "link", _refuse_link)
    with ThreadPoolExecutor(8) as pool:
        ledgers = list(pool.map(lambda _: Ledger(folder, SETTINGS), range(32)))
        list(pool.map(lambda i: ledgers[i].mark(i, job_name(i, 32)), range(32)))
    assert Ledger(folder, SETTINGS).done() == set(range(32))
    assert not list(folder.glob("*.partial*"))


def test_the_first_settings_stay_when_two_come_at_once(folder, monkeypatch):
    real = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: path.name != "settings.json" and real(path))
    Ledger(folder, SETTINGS)
    with pytest.raises(ResumeMismatchError):
        Ledger(folder, {**SETTINGS, "window_zyx_vx": (4, 4, 4)})


def test_a_full_disk_is_said_and_leaves_the_ledger_as_it_was(folder, monkeypatch):
    ledger = Ledger(folder, SETTINGS)
    ledger.mark(0, "0-of-1")
    monkeypatch.setattr(os, "fsync", _refuse_space)
    with pytest.raises(DataError, match="no room left"):
        ledger.mark(1, "0-of-1")
    with pytest.raises(DataError, match="no room left"):
        Ledger(folder.parent / "other", SETTINGS)
    monkeypatch.undo()
    assert Ledger(folder, SETTINGS).done() == {0}
    assert sorted(path.name for path in folder.iterdir()) == ["0-of-1.json", "settings.json"]


def test_compare_settings_tells_empty_from_absent():
    assert compare_settings({"a": {}, "b": 1}, {"b": 1}) == [("a", {}, "(absent)")]
    assert compare_settings({"a": {"x": 1}}, {"a": {"x": 1.5}}) == [("a.x", 1, 1.5)]


def _refuse_link(*_):
    raise OSError(errno.EPERM, "no links here")


def _refuse_space(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
