"""Every experiment can be planned, and a wrong config is one line before anything runs."""

from pathlib import Path

import pytest
from slow_cases import slow_but

EXPERIMENTS = sorted(path.stem for path in (Path(__file__).parents[2] / "config/experiments").glob("*.yaml"))
STARTS_SNAKEMAKE = "starts Snakemake"


@pytest.mark.parametrize("experiment", slow_but(["phantom"], EXPERIMENTS, STARTS_SNAKEMAKE))
def test_every_experiment_can_be_planned(snakemake, tmp_path, project, experiment):
    asked = (project / f"config/experiments/{experiment}.yaml").read_text()
    if "data: fib25\n" in asked and not (project / "../shared/data/fib25").is_dir():
        pytest.skip("the FIB-25 data are not at ../shared/data/fib25")
    if "data: cellmap\n" in asked and not (project / "../cellmap/data").is_dir():
        pytest.skip("the crops of the CellMap challenge are not at ../cellmap")
    told = snakemake("-n", "--config", f"experiments={experiment}", f"results={tmp_path}/results")
    assert told.returncode == 0, told.stderr
    assert ("train_diffusion" if "\nsynth: " in asked else "train_model") in told.stdout + told.stderr


WRONG = [
    ("experiments=phantom override=train.max_stepz=5", ["train.max_stepz", "max_steps"]),
    ("experiments=phantm", ["phantm", "phantom"]),
    ("experiments=phantom override=train.max_steps=many", ["max_steps", "many"]),
    ("experiments=phantom override=decode.threshold=1.5", ["threshold", "1.5"]),
    ("experimentz=phantom", ["experimentz", "experiments"]),
    ("experiments=fib25 override=data.folder=/nowhere/at/all", ["/nowhere/at/all", "neuroproof"]),
    ("experiments=phantom override=measure.backend=both", ["funlib.evaluate", "envs/funlib.yaml"]),
    ("experiments=phantom override=train.patch_zyx_vx=[60,64,64]", ["patch_zyx_vx", "64"]),
    ("experiments=phantom override=train.patch_zyx_vx=[256,64,64]", ["patch_zyx_vx", "256", "train"]),
]


@pytest.mark.parametrize(("config", "words"), slow_but(WRONG[:1], WRONG, STARTS_SNAKEMAKE))
def test_a_wrong_config_is_one_line(snakemake, tmp_path, config, words):
    told = snakemake("-n", "--config", *config.split(" "), f"results={tmp_path}/results")
    assert told.returncode != 0
    lines = [line for line in told.stderr.splitlines() if line.strip() and not line.startswith("host:")]
    assert len(lines) == 1, told.stderr
    assert all(word in lines[0] for word in words), lines[0]
    assert not (tmp_path / "results").exists()


@pytest.mark.slow(STARTS_SNAKEMAKE)
def test_a_second_opinion_needs_no_package_here_where_conda_makes_its_environment(snakemake, tmp_path):
    config = ["experiments=phantom", "override=measure.backend=both", f"results={tmp_path}/results"]
    told = snakemake("-n", "--software-deployment-method", "conda", "--config", *config)
    said = told.stdout + told.stderr
    assert "Building DAG of jobs" in said  # where conda is not installed, Snakemake ends here
    assert "funlib.evaluate, which cannot be imported" not in said


@pytest.mark.slow(STARTS_SNAKEMAKE)
@pytest.mark.parametrize(
    ("sweep", "word"),
    [("{}", "sweep"), ("{decode.threshold: []}", "threshold"), ("{decode.thresholt: [1]}", "threshold")],
)
def test_an_empty_or_unknown_sweep_is_refused(snakemake, tmp_path, sweep, word):
    experiment = tmp_path / "mine.yaml"
    experiment.write_text(f"data: phantom\nsweep: {sweep}\n")
    told = snakemake("-n", "--config", f"experiments={experiment}", f"results={tmp_path}/results")
    assert told.returncode != 0
    assert word in told.stderr
    assert "Traceback" not in told.stderr


@pytest.mark.slow(STARTS_SNAKEMAKE)
def test_autoconfig_can_be_planned(snakemake, tmp_path):
    told = snakemake("-n", "autoconfig", "--config", f"results={tmp_path}/results")
    assert told.returncode == 0, told.stderr
    assert "fitting config/train/demo.yaml" in told.stdout + told.stderr


@pytest.mark.slow(STARTS_SNAKEMAKE)
def test_a_segmentation_that_has_nothing_to_segment_is_refused(snakemake, tmp_path):
    data, override = "data.volumes.validate.role=predict", "train.validate_segmentation={}"
    told = snakemake("-n", "--config", f"results={tmp_path}/results", f"override={override} {data}")
    assert told.returncode != 0
    assert "train.validate_segmentation segments validation volumes" in told.stdout + told.stderr


def test_the_order_of_the_rules_files_does_not_matter(snakemake, checkout, tmp_path):
    """common.smk is read first and start.smk last; the others in any order."""
    text = (checkout / "Snakefile").read_text()
    includes = [line for line in text.splitlines() if line.startswith("include: ")]
    between = [line for line in includes if "common.smk" not in line and "start.smk" not in line]
    lines = iter(reversed(between))
    turned = "\n".join(next(lines) if line in between else line for line in text.splitlines())
    assert turned != text
    folder = tmp_path / "turned"
    folder.mkdir()
    for name in ("config", "envs", "profiles", "scripts", "workflow"):
        (folder / name).symlink_to(checkout / name)
    (folder / "Snakefile").write_text(turned)
    said = []
    for place in (checkout, folder):
        experiments = "experiments=[phantom,cellmap_mini,synth_tiny]"
        told = snakemake("-n", "--config", experiments, f"results={tmp_path}/out", folder=place)
        assert told.returncode == 0, told.stderr
        said.append(sorted(line for line in told.stdout.splitlines() if line.startswith(("rule ", "    output:"))))
    assert said[0] == said[1] != []
