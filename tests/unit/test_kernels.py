"""Compiled kernels are kept as long as the code that they are compiled from stays as it is, and no longer."""

import os
import shutil
import subprocess
import sys
import time

import pytest

from connectomake import kernels

APPENDED = "\nAPPENDED = 1\n"
ASK = """
from connectomake.kernels import use_kernel_cache
use_kernel_cache()
from connectomake.tiny_caller import two
print(two(), sum(two.stats.cache_misses.values()))
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the package."""
    folder = tmp_path_factory.mktemp("copy") / "connectomake"
    shutil.copytree(kernels.PACKAGE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture
def package(copied, monkeypatch):
    """The copy in place of the package; a test that edits a file of it writes back what was there."""
    monkeypatch.setattr(kernels, "PACKAGE", copied)
    texts = {file: file.read_text() for file in copied.rglob("*.py")}
    yield copied
    for file in copied.rglob("*.py"):
        if file not in texts:
            file.unlink()
        elif file.read_text() != texts[file]:
            file.write_text(texts[file])


def replace(old, new):
    def edit(text):
        assert text.count(old) == 1
        return text.replace(old, new)

    return edit


@pytest.mark.parametrize(
    ("file", "edit", "changes"),
    [
        ("draw/planes.py", lambda text: text, False),
        ("draw/planes.py", lambda text: text + APPENDED, False),
        ("decode/registry.py", lambda text: text + APPENDED, False),
        ("decode/components/runs.py", lambda text: text, False),
        ("decode/components/runs.py", lambda text: text + "# words\n", False),
        ("decode/components/runs.py", replace("ONE = np.uint64(1)", "ONE = np.uint64(2)"), True),
        ("union_find.py", lambda text: text + APPENDED, True),
        ("decode/components/lanes.py", lambda text: text + APPENDED, True),  # intrinsics, which kernels are made of
        ("config/settings/data.py", lambda text: text + APPENDED, False),
        ("config/settings/data.py", replace("\nUNKNOWN = -1", "\nUNKNOWN = -2"), True),  # compiled in as a constant
        ("draw/kernel.py", lambda text: "from numba import njit\n\n\n@njit\ndef f():\n    return 1\n", True),
        ("draw/kernel.py", lambda text: '"""numba has nothing to compile here."""\n', False),
    ],
)
def test_the_key_is_the_code_that_kernels_are_compiled_from(package, file, edit, changes):
    before = kernels.kernel_cache()
    assert kernels.kernel_cache() == before
    path = package / file
    path.write_text(edit(path.read_text() if path.exists() else ""))
    os.utime(path, ns=(1, time.time_ns() + 10**9))
    assert (kernels.kernel_cache() != before) is changes


def test_a_constant_is_followed_to_where_it_is_made(package):
    (package / "far.py").write_text("FAR = 1\nOTHER = 1\n")
    (package / "near.py").write_text("from connectomake.far import FAR, OTHER\n\nNEAR = FAR + 1\nUSELESS = OTHER\n")
    imports = "from numba import njit\nfrom connectomake.near import NEAR\n\n"
    (package / "kernel.py").write_text(imports + "_MINE = NEAR\n\n\n@njit\ndef f():\n    return _MINE\n")
    keys = [kernels.kernel_cache()]
    for text in ("FAR = 1\nOTHER = 200\n", "FAR = 3000\nOTHER = 200\n"):
        (package / "far.py").write_text(text)
        keys.append(kernels.kernel_cache())
    assert keys[0] == keys[1] != keys[2]


def test_other_versions_of_numba_or_numpy_compile_anew(package, monkeypatch):
    keys = {kernels.kernel_cache()}
    for other in ("numba", "numpy"):
        monkeypatch.setattr(kernels, "installed_version", lambda name, other=other: "9" if name == other else "1")
        keys.add(kernels.kernel_cache())
    assert len(keys) == 3


def test_a_damaged_record_is_made_anew(package):
    before = kernels.kernel_cache()
    (before.parent / kernels.RECORD).write_text('{"decode/components/runs.py": {"sta')
    assert kernels.kernel_cache() == before


def test_a_package_that_cannot_be_written_to_keeps_kernels_in_the_users_cache(package, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    beside = kernels.kernel_cache()
    assert beside.parent == package / "__pycache__"
    monkeypatch.setattr(os, "access", lambda path, mode: package not in (path, path.parent))
    elsewhere = kernels.kernel_cache()
    assert elsewhere.is_relative_to(tmp_path / "connectomake")
    assert elsewhere.name == beside.name
    assert (elsewhere.parent / kernels.RECORD).is_file()


def test_folders_that_nobody_used_for_days_are_removed(package, monkeypatch):
    place = package / "__pycache__"
    for name, days in (("kernels-old", kernels.KEPT_DAYS + 1), ("kernels-new", kernels.KEPT_DAYS - 1), ("other", 99)):
        (place / name / "decode_1").mkdir(parents=True)
        (place / name / "decode_1/a.nbi").touch()
        os.utime(place / name, (1, time.time() - days * 24 * 3600))
    mine = kernels.kernel_cache()
    mine.mkdir()
    os.utime(mine, (1, 1))
    monkeypatch.delenv("NUMBA_CACHE_DIR")
    kernels.use_kernel_cache()
    assert os.environ["NUMBA_CACHE_DIR"] == str(mine)
    assert {path.name for path in place.iterdir() if path.is_dir()} == {mine.name, "kernels-new", "other"}


def test_a_folder_that_somebody_chose_is_left_alone(package, monkeypatch, tmp_path):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    kernels.use_kernel_cache()
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path)


def test_a_kernel_sees_the_edit_of_another_file_and_nothing_else_compiles_it(package):
    def ask():
        environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
        environment["PYTHONPATH"] = str(package.parent)
        told = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
        return told.stdout.split()

    kernel = "from numba import njit\n\n\n@njit(cache=True)\ndef {}():\n    return {}\n"
    called, caller = package / "tiny_called.py", package / "tiny_caller.py"
    called.write_text(kernel.format("one", "1"))
    caller.write_text("from connectomake.tiny_called import one\n" + kernel.format("two", "one() + 1"))
    assert ask() == ["2", "1"]
    for file in (called, caller, package / "draw/planes.py"):
        os.utime(file, ns=(1, time.time_ns() + 10**9))
    (package / "draw/planes.py").write_text((package / "draw/planes.py").read_text() + APPENDED)
    assert ask() == ["2", "0"]
    called.write_text(kernel.format("one", "10"))
    assert ask() == ["11", "1"]
