"""Check before the first job what can be known to go wrong with a profile, or on a Slurm cluster."""

from __future__ import annotations

import atexit
import os
import sys
from pathlib import Path

from connectomake.cluster.checks import Cluster, check_answers, check_cluster, check_needs
from connectomake.cluster.folders import check_shared
from connectomake.cluster.orphans import cancel_orphans
from connectomake.cluster.profile import check_profile, check_rule_names
from connectomake.errors import ConnectomakeError
from connectomake.invocation import Invocation


class Preflight:
    """The checks of one call of snakemake.

    Parameters
    ----------
    invocation
        The call.
    results
        The folder that jobs write to.
    state
        Snakemake's folder `.snakemake` in the working directory.
    """

    def __init__(self, invocation: Invocation, results: Path, state: Path) -> None:
        self.invocation = invocation
        self.results = results
        self.state = state
        self.cluster: Cluster | None = None
        """None where jobs run on this machine."""

    def check_start(self) -> None:
        """Check what does not need the jobs to be known; to be called when all rules were read.

        A dry run will say at its end, when it knows the jobs, what would refuse them.

        Raises
        ------
        ConnectomakeError
            In one line.
        """
        profiles, slurm = self.invocation.read_command_line()
        for profile in profiles:
            check_profile(profile)
        check_rule_names(self.invocation.rules_changed, self.invocation.rule_names)
        if slurm is None:
            return
        file = slurm.partition_config or os.environ.get("SNAKEMAKE_SLURM_PARTITIONS")
        self.cluster = check_cluster(
            Path(file) if file else None,
            self.invocation.values_of("slurm_partition"),
            self.invocation.values_of("slurm_account"),
            slurm.status_command,
            slurm.first_look_s,
        )
        if self.cluster.real is not None:
            check_shared(self.results)
        if self.invocation.is_dry_run:
            atexit.register(self._warn_of_jobs)

    def prepare(self) -> None:
        """Check the jobs, and end those that a dead run left in the queue; to be called when a run starts.

        Raises
        ------
        ConnectomakeError
            The cluster does not hold what some job asks, or jobs of a dead run do not end.
        """
        if self.cluster is not None:
            self._check_jobs(self.cluster)
        cancel_orphans(self.state)

    def _check_jobs(self, cluster: Cluster) -> None:
        jobs = self.invocation.planned_jobs()
        if jobs and not self.invocation.is_dry_run:
            check_answers(cluster)
        for job in jobs:
            check_needs(job.rule, job.resources, job.threads, cluster)

    def _warn_of_jobs(self) -> None:
        try:
            if self.cluster is not None and self.invocation.has_jobs:  # else the run ended before
                self._check_jobs(self.cluster)
        except ConnectomakeError as error:
            sys.stderr.write(f"This would not run: {error}\n")
