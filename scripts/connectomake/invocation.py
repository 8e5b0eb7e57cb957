"""A call of snakemake: what Snakemake knows of it and does not promise to tell, each use in this one place.

A minor version of Snakemake may rename any of it. `TRIED` names the version that it was tried with; the tests
compare it with the version that is installed, and run each property on a real workflow.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectomake.errors import ConnectomakeError

TRIED = "9.27"
"""The minor version of Snakemake whose insides are used here."""


@dataclass(frozen=True)
class PlannedJob:
    """A job that is to be run.

    Parameters
    ----------
    rule
        Name of its rule.
    resources, threads
        What it asks for.
    """

    rule: str
    resources: dict[str, Any]
    threads: int


@dataclass(frozen=True)
class SlurmSettings:
    """What the Slurm plugin was told.

    Parameters
    ----------
    partition_config
        The file that says what partitions hold; None where there is none.
    status_command
        How it asks whether jobs have ended: ``sacct`` or ``squeue``; None where it does not know yet.
    first_look_s
        Seconds before it first does so.
    """

    partition_config: str | None
    status_command: str | None
    first_look_s: int


class Invocation:
    """A call of snakemake.

    Parameters
    ----------
    workflow
        Snakemake's object of that name, which every Snakefile sees.
    """

    def __init__(self, workflow: Any) -> None:
        self._workflow = workflow

    @property
    def is_main(self) -> bool:
        """Whether this process plans the run; else it is a single job of one."""
        return bool(self._workflow.is_main_process)

    @property
    def is_dry_run(self) -> bool:
        """Whether nothing is to be run."""
        return bool(self._workflow.output_settings.dryrun)

    @property
    def is_quiet(self) -> bool:
        """Whether nothing at all is to be said."""
        from snakemake.settings.types import Quietness

        return Quietness.ALL in (self._workflow.output_settings.quiet or ())

    @property
    def makes_environments(self) -> bool:
        """Whether rules run in environments that are made for them, by conda or in containers."""
        return bool(self._workflow.deployment_settings.deployment_method)

    @property
    def has_jobs(self) -> bool:
        """Whether Snakemake came as far as to plan jobs."""
        return self._workflow.scheduler is not None

    @property
    def rule_names(self) -> list[str]:
        """Names of all rules that were read."""
        return [rule.name for rule in self._workflow.rules]

    @property
    def rules_changed(self) -> list[str]:
        """Names of rules whose threads or resources profile or command line set."""
        asked = self._workflow.resource_settings
        return [*asked.overwrite_threads, *asked.overwrite_resources]

    def values_of(self, resource: str) -> list[str]:
        """Return what profile and rules give as a resource, without what is computed for each job."""
        rules = (rule.resources for rule in self._workflow.rules)
        found = (str(resources[resource].raw or "") for resources in rules if resource in resources)
        return list(dict.fromkeys(m[2] for m in (re.fullmatch(r"(['\"]?)([\w.,\- ]+)\1", text) for text in found) if m))

    def planned_jobs(self) -> list[PlannedJob]:
        """Return the jobs that are to be run and, in a real run, go to a cluster; rule by rule."""
        planned = self._workflow.dag.needrun_jobs(exclude_finished=False)  # a dry run has "finished" all
        jobs = (job for job in planned if self.is_dry_run or not job.is_local)
        found = [PlannedJob(job.rule.name, dict(job.resources.items()), job.threads) for job in jobs]
        return sorted(found, key=lambda job: job.rule)

    def read_command_line(self) -> tuple[list[Path], SlurmSettings | None]:
        """Read the command line as Snakemake did, which tells a Snakefile of the executor when it is too late.

        Returns
        -------
        list of Path
            The files of the profiles.
        SlurmSettings or None
            None where jobs do not go to Slurm.
        """
        from snakemake.cli import parse_args

        with contextlib.redirect_stderr(io.StringIO()):  # it names the profile once more
            parser, options = parse_args(None)
        sources = (source.partition("|") for source in parser.get_source_to_settings_dict())
        profiles = [Path(file) for kind, _, file in sources if kind == "config_file"]
        if options.executor != "slurm":
            return profiles, None
        from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

        plugin = ExecutorPluginRegistry().get_plugin("slurm").get_settings(options)
        settings = SlurmSettings(
            plugin.partition_config, plugin.status_command, plugin.init_seconds_before_status_checks
        )
        return profiles, settings


@contextmanager
def one_line() -> Iterator[None]:
    """End the process with the message of an error that a user can act on, in one line."""
    try:
        yield
    except ConnectomakeError as error:
        raise SystemExit(str(error)) from None
