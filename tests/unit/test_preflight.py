"""What is checked before the first job, with a call that is made up; and the version whose insides are used."""

import importlib.metadata
import inspect
import re
from pathlib import Path

import pytest
import snakemake.cli
from snakemake.settings.types import OutputSettings, Quietness
from snakemake.workflow import Workflow

from connectomake.cluster import preflight as module
from connectomake.cluster.checks import Cluster
from connectomake.cluster.preflight import Preflight
from connectomake.errors import ConfigError
from connectomake.invocation import TRIED, Invocation, PlannedJob, SlurmSettings, one_line

PINNED = Path(__file__).parents[2] / "requirements.txt"


class Call:
    """A call of snakemake, as much of it as is looked at."""

    is_dry_run = False
    has_jobs = True
    rules_changed: tuple[str, ...] = ()
    rule_names = ("train_model",)

    def __init__(self, slurm=None, jobs=()):
        self.slurm, self.jobs = slurm, jobs

    def read_command_line(self):
        return [], self.slurm

    def values_of(self, resource):
        return {"slurm_partition": ["gpu"], "slurm_account": ["me"]}[resource]

    def planned_jobs(self):
        return list(self.jobs)


@pytest.fixture
def cluster(monkeypatch):
    """Stand in for a cluster that nobody answers for; the list of what it is asked."""
    asked = []
    monkeypatch.setattr(module, "check_cluster", lambda *told: asked.append(told) or Cluster())
    monkeypatch.setattr(module, "check_answers", lambda cluster: asked.append("answers"))
    monkeypatch.setattr(module, "check_needs", lambda rule, needs, threads, cluster: asked.append((rule, threads)))
    monkeypatch.setattr(module, "cancel_orphans", lambda state: asked.append("orphans"))
    return asked


SLURM = SlurmSettings("partitions.yaml", "sacct", 40)
JOB = PlannedJob("train_model", {"mem_mb": 1000}, 8)


def test_on_this_machine_no_cluster_is_asked(cluster, tmp_path):
    checks = Preflight(Call(jobs=[JOB]), tmp_path, tmp_path)
    checks.check_start()
    checks.prepare()
    assert checks.cluster is None
    assert cluster == ["orphans"]


def test_a_cluster_is_asked_with_what_the_profile_names(cluster, tmp_path):
    checks = Preflight(Call(SLURM, [JOB]), tmp_path, tmp_path)
    checks.check_start()
    assert cluster == [(Path("partitions.yaml"), ["gpu"], ["me"], "sacct", 40)]
    checks.prepare()
    assert cluster[1:] == ["answers", ("train_model", 8), "orphans"]


def test_the_partition_file_may_stand_in_the_environment(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("SNAKEMAKE_SLURM_PARTITIONS", "there.yaml")
    Preflight(Call(SlurmSettings(None, None, 40)), tmp_path, tmp_path).check_start()
    assert cluster[0][0] == Path("there.yaml")


def test_a_rule_that_is_changed_and_is_not_there_is_refused(tmp_path):
    call = Call()
    call.rules_changed = ("train_modell",)
    with pytest.raises(ConfigError, match="train_model"):
        Preflight(call, tmp_path, tmp_path).check_start()


def test_a_dry_run_says_at_its_end_what_would_be_refused(cluster, tmp_path, monkeypatch, capsys):
    at_exit = []
    monkeypatch.setattr(module.atexit, "register", at_exit.append)

    def refuse(*asked):
        raise ConfigError("no partition holds it")

    call = Call(SLURM, [JOB])
    call.is_dry_run = True
    Preflight(call, tmp_path, tmp_path).check_start()
    monkeypatch.setattr(module, "check_needs", refuse)
    at_exit[0]()
    assert capsys.readouterr().err == "This would not run: no partition holds it\n"
    call.has_jobs = False  # the run ended before there were any
    at_exit[0]()
    assert capsys.readouterr().err == ""


def test_an_error_of_the_user_ends_the_process_in_one_line():
    with pytest.raises(SystemExit, match="not there; got 3"), one_line():
        raise ConfigError("not there", got=3)
    with pytest.raises(KeyError), one_line():
        raise KeyError("a fault of ours keeps its traceback")


def test_the_insides_of_snakemake_are_those_that_were_tried():
    assert re.search(rf"^snakemake==({TRIED})\.", PINNED.read_text(), re.MULTILINE), "try invocation.py, then say so"
    assert importlib.metadata.version("snakemake").startswith(f"{TRIED}.")


def test_snakemake_still_has_what_is_used_of_it():
    assert isinstance(inspect.getattr_static(Workflow, "is_main_process"), property)
    fields = set(inspect.signature(Workflow).parameters)
    assert {"output_settings", "resource_settings", "deployment_settings"} <= fields
    assert {"dryrun", "quiet"} <= set(inspect.signature(OutputSettings).parameters)
    assert Quietness.ALL
    assert "argv" in inspect.signature(snakemake.cli.parse_args).parameters


class Raw:
    def __init__(self, raw):
        self.raw = raw


class Rule:
    def __init__(self, name, **resources):
        self.name, self.resources = name, {key: Raw(value) for key, value in resources.items()}


class Settings:
    def __init__(self, **values):
        self.__dict__.update(values)


def test_resources_that_are_computed_for_each_job_name_nothing():
    rules = [
        Rule("a", slurm_partition="'gpu'"),
        Rule("b", slurm_partition="gpu"),
        Rule("c", slurm_partition="cpu if threads < 8 else 'big'"),
        Rule("d", slurm_partition=None),
        Rule("e"),
    ]
    call = Invocation(Settings(rules=rules))
    assert call.values_of("slurm_partition") == ["gpu"]
    assert call.rule_names == ["a", "b", "c", "d", "e"]


def test_local_jobs_are_planned_in_dry_runs_alone():
    jobs = [
        Settings(rule=Rule(name), resources={"mem_mb": 1}, threads=2, is_local=is_local)
        for name, is_local in (("b", False), ("a", True))
    ]
    dag = Settings(needrun_jobs=lambda exclude_finished: jobs)
    for is_dry, names in ((True, ["a", "b"]), (False, ["b"])):
        call = Invocation(Settings(dag=dag, output_settings=Settings(dryrun=is_dry, quiet=None)))
        assert [job.rule for job in call.planned_jobs()] == names
    assert not call.is_quiet
    assert Invocation(Settings(output_settings=Settings(dryrun=True, quiet={Quietness.ALL}))).is_quiet
