"""Tests that need a GPU: skipped where there is none; their numbers are shown in the end, and written as JSON."""

import gc
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gpu_report import Report, describe_machine

JSON = "CONNECTOMAKE_GPU_JSON"
REPORT = pytest.StashKey[Report]()


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    """Return the report that numbers are added to."""
    found = request.config.stash.setdefault(REPORT, Report())
    found.machine = describe_machine()
    return found


@pytest.fixture(scope="session")
def scale() -> Any:
    """Return the sizes of the checks on a GPU."""
    from gpu_scale import Scale

    return Scale()


@pytest.fixture(autouse=True)
def _needs_gpu() -> Iterator[None]:
    """Skip without a GPU, and beside other tests; leave torch's switches and the GPU's memory as they were."""
    import torch

    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here: torch.cuda.is_available() is False")
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("it measures time: run pytest -m gpu, which runs these tests alone")
    benchmark, precision = torch.backends.cudnn.benchmark, torch.get_float32_matmul_precision()
    yield
    torch.backends.cudnn.benchmark = benchmark  # which a training sets, and a prediction leaves off
    torch.set_float32_matmul_precision(precision)
    torch._dynamo.reset()
    gc.collect()
    torch.cuda.empty_cache()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show the numbers, and write them to the file that the environment variable CONNECTOMAKE_GPU_JSON names."""
    report = config.stash.get(REPORT, None)
    if report is None or not report.rows:
        return
    terminalreporter.section("numbers of the GPU")
    for line in report.lines():
        terminalreporter.write_line(line)
    if JSON in os.environ:
        Path(os.environ[JSON]).write_text(json.dumps(report.as_plain(), indent=1) + "\n", encoding="utf-8")
        terminalreporter.write_line(f"written to {os.environ[JSON]}")
