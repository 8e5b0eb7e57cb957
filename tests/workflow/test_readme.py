"""What the README says can be done: its commands plan, its files exist, its versions are those of the environment."""

import re
import shlex
from pathlib import Path

import pytest
import yaml
from pinned_packages import read_pins

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted({line.split("  ")[0] for line in re.findall(r"^snakemake .*$", README, re.MULTILINE)})


@pytest.mark.slow("starts Snakemake for each command")
@pytest.mark.parametrize("line", [line for line in COMMANDS if "mine" not in line and "slurm" not in line])
def test_a_command_of_the_readme_plans(snakemake, line):
    if "fib25" in line and not (ROOT / "../shared/data/fib25").is_dir():
        pytest.skip("the FIB-25 data are not at ../shared/data/fib25")
    told = snakemake("-n", *shlex.split(line)[1:])
    assert told.returncode == 0, told.stderr


def test_the_two_lines_stand_at_the_top_and_in_ci():
    lines = (
        "pip install -r requirements-torch.txt && pip install -r requirements.lock && snakemake --cores all",
        "pip install -r requirements-dev.txt && pytest",
    )
    for line, also in zip(lines, ("", " --all"), strict=True):
        assert f"\n{line}\n" in README[:1000]
        assert line + also in (ROOT / ".ci/run").read_text().splitlines()


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!https?:|#)([^)#]+)\)", README))))
def test_a_link_of_the_readme_leads_somewhere(link):
    assert (ROOT / link).exists()


def test_the_volume_of_the_readme_is_a_data_config():
    from connectomake.config.settings.data import DataConfig

    block = re.search(r"```yaml\n(folder:.*?)```", README, re.DOTALL)
    assert block is not None
    config = DataConfig.model_validate(yaml.safe_load(block[1]))
    assert [volume.role for volume in config.volumes.values()] == ["train", "validate", "predict"]


def test_the_losses_of_the_readme_are_those_of_a_training():
    from connectomake.config.settings.train import TrainConfig

    block = re.search(r"```yaml\n(losses:.*?)```", README, re.DOTALL)
    assert block is not None
    targets = {"affinity": {}, "distance": {}}
    assert len(TrainConfig.model_validate({"targets": targets, **yaml.safe_load(block[1])}).losses) == 3


def test_conda_and_pip_install_the_same_versions():
    pip = [f"{name}=={version}" for name, version in read_pins(ROOT / "requirements.txt").items()]
    conda = yaml.safe_load((ROOT / "envs/connectomake.yaml").read_text())["dependencies"][-1]["pip"]
    assert conda == pip
