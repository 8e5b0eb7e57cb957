"""What is said before the first job goes to Slurm, with small scripts in place of Slurm's commands."""

import logging
import re
from pathlib import Path

import pytest
import yaml

from connectomake.cluster import (
    Cluster,
    check_answers,
    check_cluster,
    check_needs,
    check_profile,
    check_rule_names,
    check_shared,
)
from connectomake.cluster.folders import file_system_of
from connectomake.cluster.partitions import read_partitions
from connectomake.cluster.slurm import list_partitions
from connectomake.errors import ConfigError

PARTITIONS = """\
cpu*|2-00:00:00|190000|64|(null)
cpu*|2-00:00:00|380000|32|(null)
gpu|30:00|500000|48|gpu:a100:4(S:0-1),shard:8
"""
CONFIG = "AccountingStorageType = {}\nMinJobAge               = 300 sec"


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Make commands that print something or, without it, fail; no others are on the path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(**outputs: str | None) -> None:
        for name, output in outputs.items():
            body = "exit 1" if output is None else f"while read line; do echo \"$line\"; done << 'END'\n{output}\nEND"
            (folder / name).write_text(f"#!/bin/sh\n{body}\n")
            (folder / name).chmod(0o755)

    return make


@pytest.fixture
def partition_file(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "partitions.yaml"
        path.write_text(text)
        return path

    return write


def cluster_of(file=None, partitions=(), accounts=(), status_command="squeue", first_look_s=40) -> Cluster:
    return check_cluster(file, partitions, accounts, status_command, first_look_s)


def test_partitions_have_the_most_of_any_of_their_nodes(fake):
    fake(sinfo=PARTITIONS)
    partitions, default = list_partitions()
    assert default == "cpu"
    assert partitions["cpu"].limits == {"runtime": 2880, "mem_mb": 380000, "threads": 64, "gpu": 0}
    assert partitions["gpu"].limits == {"runtime": 30, "mem_mb": 500000, "threads": 48, "gpu": 4}


def test_the_profiles_of_the_project_are_read(project):
    read = read_partitions(project / "profiles/slurm/partitions.yaml")
    assert read["cpu"].limits["gpu"] == 0 < read["gpu"].limits["gpu"]
    for profile in (project / "profiles").glob("*/config.yaml"):
        check_profile(profile)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("partitions:\n  cpu:\n    max_memory: 5", ["partitions.yaml:3", "max_memory", "max_mem_mb"]),
        ("partitions:\n  cpu: 5", ["partitions.yaml:2", "cpu"]),
        ("partition: {}", ["partition", "partitions"]),
        ("partitions: {}", ["partitions"]),
        ("partitions: {cpu: {max_runtime: 2 dayz}}", ["max_runtime", "2 dayz", "2-00:00:00"]),
        ("partitions: {cpu: {max_gpu: some}}", ["max_gpu", "some"]),
        ("partitions: {cpu", ["YAML"]),
    ],
)
def test_a_wrong_partition_config_is_one_line(partition_file, text, words):
    with pytest.raises(ConfigError) as error:
        read_partitions(partition_file(text))
    assert all(word in str(error.value) for word in words), str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_partition_config_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.yaml: there is no such file"):
        read_partitions(tmp_path / "nothing.yaml")


def test_an_unknown_partition_is_refused_with_the_nearest(fake, partition_file):
    fake(sinfo=PARTITIONS)
    with pytest.raises(ConfigError, match=r"slurm_partition.*'gpus'; did you mean 'gpu'"):
        cluster_of(partitions=["cpu", "gpu,gpus"])
    with pytest.raises(ConfigError, match=r"partitions\.yaml: partitions.*'long'; it has: cpu, gpu"):
        cluster_of(partition_file("partitions: {long: {max_gpu: 0}}"))
    elsewhere = partition_file("partitions: {cpu: {max_gpu: 0}, far: {cluster: other}}")
    assert list(cluster_of(elsewhere, ["cpu"]).chosen) == ["cpu"]


@pytest.mark.parametrize(("sacctmgr", "sshare"), [("lab\nother", None), (None, "lab\nother")])
def test_an_unknown_account_is_refused_with_the_nearest(fake, sacctmgr, sshare):
    fake(sinfo=PARTITIONS, sacctmgr=sacctmgr, sshare=sshare)
    cluster_of(accounts=["Lab, other"])
    with pytest.raises(ConfigError, match=r"no account 'labb' for you; did you mean 'lab'"):
        cluster_of(accounts=["other,labb"])


def test_any_account_will_do_where_the_cluster_does_not_tell(fake):
    fake(sinfo=PARTITIONS, sacctmgr=None)
    assert cluster_of(accounts=["anything"]).real is not None


@pytest.mark.parametrize("accounting", ["accounting_storage/none", "(null)"])
def test_waiting_for_ever_is_refused(fake, accounting):
    fake(sinfo=PARTITIONS, sacct="", scontrol=CONFIG.format(accounting))
    cluster_of(status_command="squeue", first_look_s=100)
    with pytest.raises(ConfigError, match="slurm-status-command: squeue"):
        cluster_of(status_command="sacct")
    with pytest.raises(ConfigError, match=r"MinJobAge >= 303 s.*got 300 s.*status-checks: 100"):
        cluster_of(status_command="squeue", first_look_s=101)


@pytest.mark.parametrize("commands", [{}, {"sacct": "", "scontrol": CONFIG.format("accounting_storage/slurmdbd")}])
def test_sacct_will_do_where_there_is_accounting_and_is_not_asked_where_it_is_not_installed(fake, commands):
    fake(sinfo=PARTITIONS, **commands)
    assert cluster_of(status_command="sacct").default == "cpu"


def test_no_sbatch_and_a_silent_slurm_are_told(fake):
    with pytest.raises(ConfigError, match="no sbatch on the path"):
        check_answers(cluster_of())
    fake(sbatch="", sinfo=None)
    with pytest.raises(ConfigError, match="Slurm does not answer"):
        check_answers(cluster_of(partitions=["unknown"]))
    fake(sinfo=PARTITIONS)
    check_answers(cluster_of())


FILE = {"partitions": {"cpu": {"max_mem_mb": 1000, "max_runtime": "1h"}, "gpu": {"max_gpu": 2, "max_threads": 8}}}


@pytest.mark.parametrize(
    ("resources", "threads", "words"),
    [
        ({"mem_mb": 1000, "runtime": 60}, 64, None),
        ({"gpu": 2, "gpu_model": "any"}, 8, None),
        ({"gres": "gpu:2", "mem_mb": "<TBD>"}, 1, None),
        ({"gpu": 9, "cluster": "other"}, 1, None),
        ({"gpu": 2, "slurm_partition": "cpu,gpu"}, 1, None),
        ({"gpu": 3}, 1, ["expected gpu 3", "cpu with gpu 0", "gpu with gpu 2"]),
        ({"gres": "gpu:a100:3"}, 1, ["expected gpu 3"]),
        ({"mem_mb": 1001, "gpu": 0}, 9, ["mem_mb 1001, threads 9", "cpu with mem_mb 1000", "gpu with threads 8"]),
        ({"gpu": 1, "slurm_partition": "cpu"}, 1, ["expected gpu 1", "got cpu with gpu 0"]),
    ],
)
def test_a_job_that_no_partition_holds_is_refused(partition_file, fake, resources, threads, words):
    cluster = cluster_of(partition_file(yaml.safe_dump(FILE)))
    if words is None:
        check_needs("train", resources, threads, cluster)
        return
    with pytest.raises(ConfigError, match="no partition holds a job of rule train;") as error:
        check_needs("train", resources, threads, cluster)
    assert all(word in str(error.value) for word in words), str(error.value)


def test_models_of_gpus_are_told_apart(partition_file, fake):
    text = "partitions: {gpu: {max_gpu: 2, available_gpu_models: [a100, h100]}}"
    cluster = cluster_of(partition_file(text))
    check_needs("train", {"gpu": 1, "gpu_model": "h100"}, 1, cluster)
    check_needs("split", {"gpu": 0, "gpu_model": "v100"}, 1, cluster)
    with pytest.raises(ConfigError, match=r"expected gpu_model v100; got gpu with gpu_model a100, h100"):
        check_needs("train", {"gpu": 1, "gpu_model": "v100"}, 1, cluster)


def test_what_slurm_tells_counts_where_the_file_promises_more(partition_file, fake):
    fake(sinfo=PARTITIONS)
    cluster = cluster_of(partition_file("partitions: {cpu: {max_gpu: 8}}"))
    with pytest.raises(ConfigError, match=re.escape("cpu with gpu 0 (by sinfo)")):
        check_needs("train", {"gpu": 1}, 1, cluster)
    check_needs("train", {"gpu": 4, "slurm_partition": "gpu"}, 1, cluster)
    with pytest.raises(ConfigError, match=r"mem_mb 400000; got cpu with mem_mb 380000 \(by sinfo\)"):
        check_needs("train", {"mem_mb": 400000}, 1, cluster_of())  # goes to the default


@pytest.mark.parametrize(("kind", "told"), [("tmpfs", "error"), ("ext4", "warning"), ("nfs4", "nothing")])
def test_a_folder_that_nodes_do_not_see_is_told(fake, monkeypatch, caplog, kind, told):
    monkeypatch.setattr("connectomake.cluster.folders.file_system_of", lambda folder: kind)
    monkeypatch.setattr("connectomake.cluster.folders.socket.gethostname", lambda: "login.site")
    fake(sinfo="login")
    check_shared(Path("results"))  # one machine sees what is its own
    fake(sinfo="login\nn1\nn1")
    with caplog.at_level(logging.WARNING):
        if told == "error":
            with pytest.raises(ConfigError, match="results: the nodes do not see this folder"):
                check_shared(Path("results"))
        else:
            check_shared(Path("results"))
    assert bool(caplog.records) == (told == "warning")


def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"a / ext4 rw 0 0\nb {tmp_path} tmpfs rw\nc {tmp_path}/a\\040b nfs4 rw\nd {tmp_path} xfs rw\n")
    (tmp_path / "link").symlink_to(tmp_path / "a b")
    assert file_system_of(tmp_path / "new/folder", mounts) == "xfs"
    assert file_system_of(tmp_path / "link/results", mounts) == "nfs4"
    assert file_system_of(Path("/etc"), mounts) == "ext4"
    assert file_system_of(tmp_path, tmp_path / "none") == ""


def test_a_mapping_that_snakemake_would_leave_out_is_refused(tmp_path):
    profile = tmp_path / "config.yaml"
    profile.write_text("jobs: 5\nset-threads: {a: 1}\ndefault-resource:\n  mem_mb: 5\n")
    with pytest.raises(ConfigError, match=r"config\.yaml:3: .*'default-resource'; did you mean 'default-resources'"):
        check_profile(profile)


def test_resources_of_a_rule_that_there_is_not_are_refused():
    check_rule_names(["train_model"], ["train_model", "split"])
    with pytest.raises(ConfigError, match=r"no rule 'train_modell'; did you mean 'train_model'"):
        check_rule_names(["split", "train_modell"], ["train_model", "split"])
