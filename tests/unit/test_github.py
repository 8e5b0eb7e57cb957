"""What GitHub reads: its files are right, and every command in them and in CONTRIBUTING.md names what there is."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pinned_packages import PYTHONS

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
PROGRAMS = {"pip", "pytest", "python", "ruff", "snakefmt", "mypy", "snakemake", "pre-commit", "cd", "test", "sudo"}
PROGRAMS |= {"git", "python3", "."}
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def read(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def steps_of(file: Path) -> Iterator[dict[str, Any]]:
    content = read(file)
    for job in [content["runs"]] if "runs" in content else content["jobs"].values():
        yield from job["steps"]


def commands_of(file: Path) -> list[str]:
    return [line for step in steps_of(file) for line in step.get("run", "").splitlines()]


def blocks_of(page: str) -> list[str]:
    """Return the commands of a page's blocks, without the remarks behind them."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return [re.sub(r" +#.*", "", line) for kind, block in blocks if not kind for line in block.splitlines()]


ACTIONS = [*WORKFLOWS, *GITHUB.glob("actions/*/action.yml")]
COMMANDS = sorted({*(line for file in ACTIONS for line in commands_of(file)), *blocks_of(CONTRIBUTING)})


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_names_what_there_is(line: str) -> None:
    for command in re.split(r" && | ; ", line):
        words = shlex.split(command)
        assert words[0] in PROGRAMS
        for word in words[1:]:
            path = word.partition("::")[0]
            in_tree = path.split("/")[0] in {entry.name for entry in ROOT.iterdir()} and not path.startswith("results")
            if in_tree or path.endswith((".py", ".txt", ".lock")):
                assert (ROOT / path).exists()
            if "::" in word:
                assert f"def {word.partition('::')[2].partition('[')[0]}(" in (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("file", ACTIONS, ids=lambda file: file.parent.name + "/" + file.name)
def test_an_action_of_ours_exists_and_foreign_ones_have_a_version(file: Path) -> None:
    for used in [step["uses"] for step in steps_of(file) if "uses" in step]:
        if used.startswith("./"):
            assert (ROOT / used / "action.yml").is_file()
        else:
            assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+", used)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_may_only_read_and_ends_by_itself(file: Path) -> None:
    content = read(file)
    assert content["permissions"] == {"contents": "read"}
    assert all(job["timeout-minutes"] <= 60 for job in content["jobs"].values())


def test_lint_is_that_of_ci() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    ours = script.partition('echo "== lint"')[2].partition("echo ")[0].strip().splitlines()
    assert commands_of(GITHUB / "workflows/lint.yml") == [line for line in ours if not line.startswith("pip ")]


def test_every_test_runs_somewhere_slow_ones_too() -> None:
    calls = [line.partition("pytest ")[2] for file in WORKFLOWS for line in commands_of(file) if "pytest" in line]
    assert all(call.startswith("--all ") for call in calls)
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")} - {"gpu"}
    assert {word for call in calls for word in call.split()[1:]} == {f"tests/{name}" for name in folders}


def test_unit_tests_run_on_every_python() -> None:
    assert read(GITHUB / "workflows/unit.yml")["jobs"]["unit"]["strategy"]["matrix"]["python"] == list(PYTHONS)


@pytest.mark.parametrize("file", FORMS, ids=lambda file: file.stem)
def test_a_form_is_one_that_github_shows(file: Path) -> None:
    form = read(file)
    assert form["name"]
    assert form["description"]
    assert {field["type"] for field in form["body"]} <= {"markdown", "textarea", "input", "dropdown", "checkboxes"}
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert all(field["attributes"]["label"] for field in fields)
    names = [field["id"] for field in fields]
    assert len(names) == len(set(names)) > 0


def test_the_catalog_of_workflows_reads_its_file() -> None:
    usage = read(ROOT / ".snakemake-workflow-catalog.yml")["usage"]
    assert set(usage) <= {"mandatory-flags", "software-stack-deployment", "report"}
    deployment = usage["software-stack-deployment"]
    assert set(deployment) == {"conda", "apptainer", "apptainer+conda"}
    assert any(deployment.values())
    assert all(isinstance(value, bool) for value in (*deployment.values(), usage["report"]))
    assert (ROOT / "config/README.md").is_file()  # which the catalog shows


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https?:|#)([^)#]+)[)#]", CONTRIBUTING))))
def test_a_link_of_the_contributors_page_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
