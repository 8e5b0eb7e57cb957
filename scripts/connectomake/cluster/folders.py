"""Tell whether the nodes of a cluster can see a folder of this machine, from the kind of its file system."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

from connectomake.cluster.slurm import list_nodes
from connectomake.errors import ConfigError

IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})
ON_A_DISK = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay"})

log = logging.getLogger(__name__)


def check_shared(folder: Path) -> None:
    """Check that the nodes see a folder; warn where only its own machine's settings could tell (it may be exported).

    Parameters
    ----------
    folder
        Where results go; it need not exist yet.

    Raises
    ------
    ConfigError
        It lies in this machine's memory, and there are other machines in the cluster.
    """
    host = socket.gethostname()
    others = list_nodes() - {host, host.partition(".")[0]}
    kind = file_system_of(folder)
    if not others:
        return
    if kind in IN_MEMORY:
        hint = "choose another with --config results=..."
        raise ConfigError(f"{folder}: the nodes do not see this folder, which is in memory ({kind})", hint=hint)
    if kind in ON_A_DISK:
        log.warning("%s: this folder is on a disk of this machine (%s); do the nodes see it?", folder, kind)


def file_system_of(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Name the kind of file system that a folder is on or would be on, as the kernel does; "" where it is not known.

    Parameters
    ----------
    folder
        It need not exist yet.
    mounts
        The kernel's list: device, mount point, kind, ... a line; spaces in paths are written as octal.
    """
    try:
        lines = mounts.read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    kinds = {
        fields[1].replace(r"\040", " "): fields[2] for fields in map(str.split, lines)
    }  # the last one hides others
    place = os.path.realpath(folder)
    return next((kinds[str(at)] for at in (Path(place), *Path(place).parents) if str(at) in kinds), "")
