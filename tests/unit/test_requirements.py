"""What pip installs: the lock is whole, suits every system and Python, and says nothing of one machine."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pinned_packages import PYTHONS, read_lock, read_pins

ROOT = Path(__file__).parents[2]
LISTS = sorted(ROOT.glob("requirements*"))
LOCK = [(Requirement(requirement), hashes) for requirement, hashes in read_lock(ROOT / "requirements.lock")]
PLACE = re.compile(r"^\s*-(?!r |-hash=)|://|\bfile:| @ |^\s*[./~]", re.MULTILINE)  # options, addresses and paths
TORCHS_OWN = re.compile(r"torch|torchvision|triton|nvidia-.*|cuda-.*|sympy|mpmath")
SYSTEMS = {
    "linux-x86_64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "linux-aarch64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
    "macos-arm64": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
}


def locked_for(environment: dict[str, str]) -> dict[str, list[str]]:
    """Return the versions of each package that pip would install from the lock in an environment."""
    found: dict[str, list[str]] = {}
    for requirement, _ in LOCK:
        if requirement.marker is None or requirement.marker.evaluate(environment):
            found.setdefault(canonicalize_name(requirement.name), []).append(str(requirement.specifier))
    return found


def meant() -> dict[str, str]:
    """Return what requirements.txt pins, but torch."""
    pins = {canonicalize_name(name): version for name, version in read_pins(ROOT / "requirements.txt").items()}
    del pins["torch"]
    return pins


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_a_list_of_packages_says_nothing_of_where_they_come_from(path: Path) -> None:
    assert PLACE.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    ["-i https://x.org", "--extra-index-url x", "--find-links x", "-f x", "--trusted-host x", "./a.whl", "a @ file:/a"],
)
def test_a_place_is_seen(line: str) -> None:
    assert PLACE.search(f"numpy==2.4.6\n{line}\n")


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_no_version_is_one_machines_own(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    assert [line for line in lines if "+" in line] == []


def test_everything_in_the_lock_is_pinned_and_has_hashes() -> None:
    assert len(LOCK) > 100
    for requirement, hashes in LOCK:
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement
        assert hashes, requirement
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes), requirement


def test_torch_and_what_it_alone_needs_are_not_in_the_lock() -> None:
    assert [requirement.name for requirement, _ in LOCK if TORCHS_OWN.fullmatch(requirement.name)] == []
    assert list(read_pins(ROOT / "requirements-torch.txt")) == ["torch"]
    assert re.fullmatch(r"[\d.]+", read_pins(ROOT / "requirements.txt")["torch"])


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_lock_has_what_is_meant_once(system: str, python: str) -> None:
    version = {"python_version": python, "python_full_version": f"{python}.0"}
    locked = locked_for({**default_environment(), **SYSTEMS[system], **version})
    assert {name: versions for name, versions in locked.items() if len(versions) != 1} == {}
    assert {name: locked.get(name) for name in meant()} == {name: [f"=={v}"] for name, v in meant().items()}


def test_tools_of_developers_leave_the_locked_versions_alone() -> None:
    tools = {canonicalize_name(name): version for name, version in read_pins(ROOT / "requirements-dev.txt").items()}
    differ = {r.name: str(r.specifier) for r, _ in LOCK if f"=={tools.get(r.name, '')}" not in ("==", str(r.specifier))}
    assert differ == {}


def test_what_a_locked_package_needs_is_locked_too() -> None:
    locked = locked_for(default_environment())
    missing = []
    for name, (pin, *_) in locked.items():
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            continue
        if f"=={installed.version}" != pin:
            continue
        for needed in map(Requirement, installed.requires or []):
            applies = needed.marker is None or needed.marker.evaluate({"extra": ""})
            key = canonicalize_name(needed.name)
            if applies and key != "torch" and not (key in locked and needed.specifier.contains(locked[key][0][2:])):
                missing.append(f"{name}: {needed}")
    assert missing == []


def test_both_other_pythons_are_tried_before_a_release() -> None:
    assert f"for python in {' '.join(PYTHONS[1:])}; do" in (ROOT / ".ci/full").read_text(encoding="utf-8")
    assert "Python 3.11, 3.12 or 3.13" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md", "docs/install.md", ".ci/run", ".ci/full"])
def test_lists_that_are_installed_exist(page: str) -> None:
    named = set(re.findall(r"-r (requirements[\w.-]+\w)", (ROOT / page).read_text(encoding="utf-8")))
    assert named <= {path.name for path in LISTS}
    assert {"requirements-torch.txt", "requirements.lock"} <= named
