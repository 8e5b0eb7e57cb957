"""The profiles: found by name and by folder, right in every key, and described as the rules are."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

RULE = re.compile(r"^(?:rule|checkpoint) (\w+):\n((?:    .*\n|\n)+)", re.MULTILINE)
BY_DATA = "by the data"


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    """Hide a cluster that this machine may have: its partitions are not those of the profile."""
    monkeypatch.setenv("SLURM_CONF", os.devnull)


def profile_of(project: Path, name: str) -> dict:
    return yaml.safe_load((project / f"profiles/{name}/config.yaml").read_text())


@pytest.mark.slow("starts Snakemake for each profile")
@pytest.mark.parametrize("profile", ["profiles/slurm", "profiles/local"])
def test_profile_is_found_by_its_folder(snakemake, tmp_path, profile):
    told = snakemake("--profile", profile, "-n", "--config", f"results={tmp_path}")
    assert told.returncode == 0, told.stderr
    assert f"Using profile {profile}" in told.stderr


@pytest.mark.slow("starts Snakemake")
def test_profile_is_found_by_name_after_the_link_of_the_readme(project, tmp_path):
    (command,) = re.findall(r"`(ln -s [^`]*)`", (project / "profiles/README.md").read_text())
    home = tmp_path / "snakemake"
    home.mkdir()
    subprocess.run(command.replace("~/.config/snakemake", str(home)), shell=True, check=True, cwd=project)
    told = subprocess.run(
        ["snakemake", "--profile", "slurm", "-n", "--config", f"results={tmp_path}/results"],
        cwd=project,
        env=os.environ | {"XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "Using profile slurm" in told.stderr


def test_retries_stand_in_the_profile_alone(project):
    assert profile_of(project, "slurm")["retries"] == 2
    rules = "".join(path.read_text() for path in (project / "workflow/rules").glob("*.smk"))
    assert not re.search(r"^\s+(retries|group):", rules, re.MULTILINE)
    assert not re.search(r"slurm_partition *=", rules)


def test_rules_that_the_profile_names_are_there(project):
    profile = profile_of(project, "slurm")
    assert set(profile["set-threads"]) <= set(asked_by_rules(project))


def asked_by_rules(project: Path) -> dict[str, tuple[str, str, str, str]]:
    """Read cores, MB, minutes and GPUs of each rule that runs something, as the table of the README says them."""
    asked = {}
    for path in (project / "workflow/rules").glob("*.smk"):
        text = path.read_text()
        constants = dict(re.findall(r"^([A-Z_]+) = (\d+)$", text, re.MULTILINE))
        for name, body in RULE.findall(text):
            if "\n    resources:" in body and "localrule:" not in body:
                cores = value_of(body, "threads: ", constants) or "1"
                megabytes = value_of(body, "mem_mb=", constants)
                minutes = value_of(body, "runtime=", constants, fixed="=")
                asked[name] = (cores, megabytes, minutes, value_of(body, "(?:gpu|gres)=", constants))
    return asked


def value_of(body: str, key: str, constants: dict[str, str], fixed: str = "") -> str:
    """Return the number of a rule's line, with a mark where further attempts get no more; or that the data tell it."""
    found = re.search(rf"^    (?:    )?{key}(.*?),?$", body, re.MULTILINE)
    if not found:
        return ""
    text = constants.get(found[1], found[1])
    if text.isdigit():
        return text + fixed
    number = re.fullmatch(r"per_attempt\((\d+)\)|lambda wildcards, attempt: (\d+) \* attempt", text)
    return number[1] or number[2] if number else BY_DATA


def test_table_of_the_readme_says_what_the_rules_say(project):
    table = (project / "profiles/README.md").read_text().split("| rule |")[1]
    said = {}
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for name in re.findall(r"`(\w+)`", cells[0]) if len(cells) == 6 else []:
            said[name] = tuple(cells[1:5])
            assert cells[5], f"{name}: no reason"
    assert said == asked_by_rules(project)
