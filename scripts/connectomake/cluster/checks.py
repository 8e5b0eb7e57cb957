"""Check what jobs ask against what a Slurm cluster has: partitions, accounts, and the way to learn that a job ended."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from connectomake.cluster.partitions import read_partitions
from connectomake.cluster.slurm import (
    Partition,
    count_gpus,
    list_accounts,
    list_partitions,
    read_configuration,
    split_names,
)
from connectomake.config.engine.explain import nearest
from connectomake.errors import ConfigError


@dataclass(frozen=True)
class Cluster:
    """What is known of a cluster before a job goes to it.

    Parameters
    ----------
    file
        The partition config; None where there is none.
    chosen
        The partitions of `file`, which the plugin chooses from.
    real
        The partitions that Slurm tells of; None where nobody answers.
    default
        The partition of jobs for which none is chosen; "" where there is none.
    """

    file: Path | None = None
    chosen: Mapping[str, Partition] = field(default_factory=dict)
    real: Mapping[str, Partition] | None = None
    default: str = ""


def check_cluster(
    partition_file: Path | None,
    partitions: Iterable[str],
    accounts: Iterable[str],
    status_command: str | None,
    first_look_s: int,
) -> Cluster:
    """Check all that concerns every job alike.

    Parameters
    ----------
    partition_file
        The partition config; None where there is none.
    partitions, accounts
        What the profile names as `slurm_partition` and `slurm_account`; one may be several, with commas between.
    status_command
        How the plugin asks whether jobs have ended: ``sacct`` or ``squeue``; None where it does not know yet.
    first_look_s
        Seconds before it first does so.

    Returns
    -------
    Cluster
        For `check_needs`.

    Raises
    ------
    ConfigError
        The partition config is wrong, a partition or an account is unknown, or Snakemake would wait for ever.
    """
    chosen = read_partitions(partition_file) if partition_file else {}
    told = list_partitions()
    if told is None:
        return Cluster(partition_file, chosen)
    real, default = told
    asked = [name for several in partitions for name in split_names(several)]
    named = dict.fromkeys(asked, "slurm_partition") | dict.fromkeys(chosen, f"{partition_file}: partitions")
    for name, place in named.items():
        if name not in real:
            raise ConfigError(f"{place}: the cluster has no partition {name!r}", hint=nearest(name, real, "it has"))
    _check_accounts(accounts)
    _check_ends_are_seen(status_command, first_look_s)
    return Cluster(partition_file, chosen, real, default)


def check_answers(cluster: Cluster) -> None:
    """Check that jobs can be submitted at all.

    Raises
    ------
    ConfigError
        There is no ``sbatch``, or Slurm does not answer.
    """
    if shutil.which("sbatch") is None:
        hint = "start on a login node of the cluster, or without --profile profiles/slurm"
        raise ConfigError("there is no sbatch on the path, so no job can be submitted to Slurm", hint=hint)
    if cluster.real is None:
        raise ConfigError("Slurm does not answer", hint="sinfo says why; no job was submitted")


def check_needs(rule: str, resources: Mapping[str, object], threads: int, cluster: Cluster) -> None:
    """Check that a partition holds what a job of a rule asks.

    Parameters
    ----------
    rule
        The rule's name.
    resources
        What the job asks; what is not yet known is not a number, and not looked at.
    threads
        The job's threads.
    cluster
        What the cluster has.

    Raises
    ------
    ConfigError
        No partition that the job may go to has that much; says what is asked and what each partition has.
    """
    if any(resources.get(key) for key in ("cluster", "clusters", "slurm_cluster")):
        return  # another cluster, which was not asked
    needs: dict[str, float] = {name: value for name, value in resources.items() if isinstance(value, int | float)}
    gpu = resources.get("gpu")
    needs["gpu"] = gpu if isinstance(gpu, int) else count_gpus(resources.get("gres"))
    needs["threads"] = needs.get("cpus_per_task", threads)
    model = resources.get("gpu_model") if needs["gpu"] else None
    named = split_names(resources.get("slurm_partition") or "")
    asked: dict[str, object] = {}
    got = []
    for name in named or list(cluster.chosen) or [cluster.default]:
        lacks = _lacks(name, needs, model, cluster)
        if not lacks:
            return
        asked |= {key: needs.get(key, model) for key in lacks}
        got.append(f"{name} with {', '.join(lacks.values())}")
    raise ConfigError(
        f"no partition holds a job of rule {rule}",
        expected=", ".join(f"{key} {value}" for key, value in asked.items()),
        got=" / ".join(got),
        hint="ask for less by set-resources in the profile, or add a partition that has it",
    )


def _lacks(name: str, needs: Mapping[str, float], model: object, cluster: Cluster) -> dict[str, str]:
    """Return what a partition has too little of, by the partition config or else by Slurm: key -> what it has."""
    lacks: dict[str, str] = {}
    sources = {str(cluster.file): cluster.chosen.get(name), "sinfo": (cluster.real or {}).get(name)}
    for source, partition in sources.items():
        if partition is None:
            continue
        for key, most in partition.limits.items():
            if needs.get(key, 0) > most:
                lacks.setdefault(key, f"{key} {most:g} (by {source})")
        if model and partition.gpu_models and model not in partition.gpu_models:
            lacks["gpu_model"] = f"gpu_model {', '.join(sorted(partition.gpu_models))} (by {source})"
    return lacks


def _check_accounts(accounts: Iterable[str]) -> None:
    """Reject an account that this user may not charge; without accounting, Slurm takes any."""
    asked = [account for several in accounts for account in split_names(several)]
    known = list_accounts() if asked else set()
    for account in asked:
        if known and account.lower() not in known:
            hint = nearest(account.lower(), known, "you may charge")
            raise ConfigError(f"slurm_account: the cluster has no account {account!r} for you", hint=hint)


def _check_ends_are_seen(status_command: str | None, first_look_s: int) -> None:
    """Reject an endless wait: without accounting sacct tells nothing, and squeue forgets jobs after MinJobAge."""
    configuration = read_configuration()
    accounting = configuration.get("AccountingStorageType", "")
    if accounting not in ("accounting_storage/none", "(null)") or shutil.which("sacct") is None:
        return
    if status_command != "squeue":
        hint = "add `slurm-status-command: squeue` to the profile, or Snakemake waits for ever"
        raise ConfigError("this cluster keeps no accounts, so sacct does not tell whether a job has ended", hint=hint)
    age_s = int(re.match(r"\d*", configuration.get("MinJobAge", ""))[0] or 0)  # type: ignore[index]
    if age_s < 3 * first_look_s:
        raise ConfigError(
            "squeue forgets jobs before the plugin looks, which then asks sacct, and waits for ever",
            expected=f"MinJobAge >= {3 * first_look_s} s in slurm.conf",
            got=f"{age_s} s",
            hint=f"or `slurm-init-seconds-before-status-checks: {max(1, age_s // 3)}` in the profile",
        )
