"""What all tests share: the project's root, and how many processes run them."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectomake.kernels import use_kernel_cache

# The machine that tests run on has two cores, and two processes do; a test that needs more threads asks for them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # see stage.py
os.environ.setdefault("NUMBA_NUM_THREADS", "2")
os.environ.setdefault("MPLBACKEND", "Agg")
use_kernel_cache()  # that of the stages

TESTS = Path(__file__).parent
LEFT_OUT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--all`."""
    parser.addoption("--all", action="store_true", help="run tests that are marked slow too")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run tests in two processes, each with whole files, unless -n says otherwise; in one where two are of no use.

    That is one file, a debugger, and what is timed on a GPU. Not an option in pyproject.toml: a GPU's node may lack
    pytest-xdist, and then pytest would refuse it.
    """
    if not config.pluginmanager.hasplugin("xdist") or hasattr(config, "workerinput"):
        return
    if config.option.numprocesses is None:
        one_file = len(config.args) == len(named_files(config)) == 1
        config.option.numprocesses = 0 if asks_for_gpu(config) or config.option.usepdb or one_file else 2
    if config.option.dist == "no":
        config.option.dist = "loadfile"
    config.option.loadscopereorder = False  # the order is that of `pytest_collection_modifyitems`


def pytest_configure(config: pytest.Config) -> None:
    """Show warnings on a GPU's node, whose versions are its own; elsewhere they are errors."""
    if asks_for_gpu(config):
        config.addinivalue_line("filterwarnings", "default")
        return
    from hypothesis import settings  # which a GPU's node may lack

    settings.register_profile("untimed", deadline=None)  # a busy machine is no fault
    settings.load_profile("untimed")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out benchmarks that nobody names; and what -m gpu leaves out, whose imports a GPU's node may lack."""
    if collection_path.parent != TESTS or collection_path.name == "gpu":
        return None
    return True if collection_path.name == "benchmarks" or asks_for_gpu(config) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests that nobody named; where they run, begin with their files, so that none is waited for."""
    slow = [item for item in items if is_slow(item)]
    if not runs_slow_tests(config):
        named = named_files(config)
        left_out = {item for item in slow if item.path not in named}
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=list(left_out))
        report_left_out(config, len(left_out))
    first = {item.path for item in slow}
    items.sort(key=lambda item: item.path not in first)


def is_slow(item: pytest.Item) -> bool:
    """Return whether a test is marked slow; the mark has to say why."""
    marks = list(item.iter_markers("slow"))
    if not all(mark.args and isinstance(mark.args[0], str) for mark in marks):
        raise pytest.UsageError(f'{item.nodeid}: say why it is slow: pytest.mark.slow("starts Snakemake")')
    return bool(marks)


def runs_slow_tests(config: pytest.Config) -> bool:
    """Return whether slow tests run wherever they lie: with --all, and where -m or -k chooses tests."""
    return config.option.all or bool(config.option.markexpr) or bool(config.option.keyword)


def named_files(config: pytest.Config) -> set[Path]:
    """Return the files that the command line names, alone or with one of their tests."""
    paths = [config.invocation_params.dir / argument.partition("::")[0] for argument in config.args]
    return {Path(os.path.abspath(path)) for path in paths if path.is_file()}  # as pytest writes them


def report_left_out(config: pytest.Config, count: int) -> None:
    """Keep the number of tests that were left out; from one of several processes, send it to the one that prints."""
    config.stash[LEFT_OUT] = count
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = count


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over the number of tests that a process has left out: all processes leave out the same."""
    count = getattr(node, "workeroutput", {}).get("left_out", 0)  # one that crashed has sent nothing
    node.config.stash[LEFT_OUT] = max(count, node.config.stash.get(LEFT_OUT, 0))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Describe what was left out, and how to run it."""
    count = config.stash.get(LEFT_OUT, 0)
    if count:
        terminalreporter.write_line(f"{count} slow tests were left out: pytest --all runs them too")


def asks_for_gpu(config: pytest.Config) -> bool:
    """Return whether these are the tests that need a GPU, and no others."""
    return config.option.markexpr == "gpu"


@pytest.fixture(scope="session")
def project() -> Path:
    """Return the folder of the checkout."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Take back what a stage that ran within the test did to the root logger: the next test may count its records."""
    root = logging.getLogger()
    level = root.level
    yield
    for handler in [h for h in root.handlers if getattr(h, "of_connectomake", False)]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(autouse=True)
def _own_environment() -> Iterator[None]:
    """Take back what a library wrote into the environment: strategies of Lightning leave LOCAL_RANK and MASTER_PORT."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)
