"""Read the partition config: the file that tells the Slurm plugin which partition holds how much.

The keys are those of snakemake-executor-plugin-slurm 2.8 (`slurm-partition-config`), which fails with a traceback on
any other.
"""

from __future__ import annotations

from math import isinf
from pathlib import Path

from pydantic import Field, NonNegativeFloat, NonNegativeInt, ValidationError, field_validator

from connectomake.cluster.slurm import Partition, minutes_of
from connectomake.config.engine.explain import Layer, explain
from connectomake.config.engine.yaml_files import read_yaml
from connectomake.config.section import Section


class PartitionConfig(Section):
    """The most that one job may ask of a partition; null = no limit."""

    max_runtime: str | None = None
    max_mem_mb: NonNegativeFloat | None = None
    max_mem_mb_per_cpu: NonNegativeFloat | None = None
    max_cpus_per_task: NonNegativeFloat | None = None
    max_threads: NonNegativeFloat | None = None
    max_nodes: NonNegativeFloat | None = None
    max_tasks: NonNegativeFloat | None = None
    max_tasks_per_node: NonNegativeFloat | None = None
    max_gpu: NonNegativeInt = 0
    available_gpu_models: tuple[str, ...] | None = None
    max_cpus_per_gpu: NonNegativeFloat | None = None
    supports_mpi: bool = True
    max_mpi_tasks: NonNegativeFloat | None = None
    available_constraints: tuple[str, ...] | None = None
    cluster: str | None = None
    clusters: str | None = None
    slurm_cluster: str | None = None

    @field_validator("max_runtime")
    @classmethod
    def _is_a_time(cls, time: str | None) -> str | None:
        """Reject what the plugin cannot read."""
        if time is not None and isinf(minutes_of(time)):
            raise ValueError(f"expected minutes, or a time such as 2-00:00:00 or 12h; got {time!r}")
        return time

    @property
    def is_elsewhere(self) -> bool:
        """Return whether it belongs to another cluster of the site, which only jobs that name the cluster go to."""
        return bool(self.cluster or self.clusters or self.slurm_cluster)

    def most(self) -> Partition:
        """Return its limits by the names of Snakemake's resources."""
        limits = {
            "runtime": None if self.max_runtime is None else minutes_of(self.max_runtime),
            "mem_mb": self.max_mem_mb,
            "mem_mb_per_cpu": self.max_mem_mb_per_cpu,
            "cpus_per_task": self.max_cpus_per_task,
            "threads": self.max_threads,
            "nodes": self.max_nodes,
            "tasks": self.max_tasks,
            "tasks_per_node": self.max_tasks_per_node,
            "gpu": float(self.max_gpu),
        }
        models = self.available_gpu_models
        known = {name: most for name, most in limits.items() if most is not None}
        return Partition(known, None if models is None else frozenset(models))


class PartitionFile(Section):
    """The whole file."""

    partitions: dict[str, PartitionConfig] = Field(min_length=1)


def read_partitions(file: Path) -> dict[str, Partition]:
    """Read and check a partition config.

    Parameters
    ----------
    file
        The YAML file.

    Returns
    -------
    dict
        Name -> limits, of the partitions of this cluster.

    Raises
    ------
    ConfigError
        The file is not there, is not YAML, has an unknown key or a value of another kind; names the line.
    """
    values = read_yaml(file, str(file))
    try:
        partitions = PartitionFile.model_validate(values).partitions
    except ValidationError as error:
        raise explain(error, PartitionFile, [Layer(str(file), values, file)]) from None
    return {name: one.most() for name, one in partitions.items() if not one.is_elsewhere}
