"""`pytest` leaves out what is slow, and says so; `pytest --all`, and who names a test, run it."""

import shutil
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SLOW = """
import pytest

def test_quick():
    pass

@pytest.mark.slow("waits for something")
@pytest.mark.parametrize("number", [1, 2])
def test_long(number):
    pass
"""
HINT = "*2 slow tests were left out: pytest --all runs them too"


@pytest.fixture
def project_of_two(pytester: pytest.Pytester, project: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Make a project with our conftest and settings, and two files: one with slow tests, one without."""
    monkeypatch.setenv("PYTHONPATH", str(project / "scripts"))
    shutil.copy(project / "pyproject.toml", pytester.path)
    for name, text in (("test_mixed.py", SLOW), ("test_quick.py", "def test_too():\n    pass\n")):
        file = pytester.path / "tests/unit" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    shutil.copy(project / "tests/conftest.py", pytester.path / "tests")
    return pytester


@pytest.mark.parametrize(
    ("arguments", "passed", "left_out"),
    [
        ([], 2, 2),
        (["tests/unit", "tests/unit/test_quick.py"], 2, 2),
        (["tests/unit", "--all"], 4, 0),
        (["tests/unit/test_mixed.py"], 3, 0),
        (["tests/unit/../unit/test_mixed.py::test_long[1]", "tests/unit/test_quick.py"], 2, 0),
        (["-k", "long"], 2, 0),
        (["-m", "slow"], 2, 0),
    ],
)
def test_what_is_named_runs_and_else_what_is_fast(project_of_two, arguments, passed, left_out):
    result = project_of_two.runpytest_inprocess("-n0", *arguments)
    result.assert_outcomes(passed=passed, deselected=left_out + (2 if "-k" in arguments or "-m" in arguments else 0))
    if left_out:
        result.stdout.fnmatch_lines([HINT])
    else:
        result.stdout.no_fnmatch_line("*left out*")


def test_a_slow_test_says_why(project_of_two):
    (project_of_two.path / "tests/unit/test_quick.py").write_text(SLOW.replace('("waits for something")', ""))
    result = project_of_two.runpytest_inprocess("-n0")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_quick.py::test_long*: say why it is slow*"])


@pytest.mark.slow("starts pytest, which starts two processes")
def test_two_processes_say_it_once_and_begin_with_what_is_slow(project_of_two):
    result = project_of_two.runpytest_subprocess()
    result.assert_outcomes(passed=2)
    assert result.outlines.count(HINT.strip("*")) == 1
    result = project_of_two.runpytest_subprocess("-v", "--all")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*2 workers*", "tests/unit/test_mixed.py::*"])


@pytest.mark.slow("starts pytest")
def test_one_file_runs_in_one_process(project_of_two):
    result = project_of_two.runpytest_subprocess("tests/unit/test_mixed.py")
    result.assert_outcomes(passed=3)
    result.stdout.no_fnmatch_line("*workers*")
