"""A real Slurm of one machine for the tests: munged, slurmctld and slurmd, without systemd, cgroups or a database."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
SETTINGS = Path("/etc/slurm")  # Slurm's own job steps look nowhere else
# It may claim more than the machine has (config_overrides), so that what rules ask for fits. A step that exceeds its
# memory for a second is killed. Finished jobs stay visible to squeue, as there is no accounting.
CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthInfo=socket={folder}/munge.sock
SlurmctldPort=16817
SlurmdPort=16818
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=sched_min_interval=100000
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
MinJobAge=3600
KillWait=5
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=64 RealMemory=200000 Gres=gpu:fake:2 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=2880
PartitionName=gpu Nodes={host} MaxTime=2880
"""
# Any device will do: Slurm only hands out its number.
GRES = "Name=gpu Type=fake File=/dev/null\nName=gpu Type=fake File=/dev/zero\n"


def why_not() -> str | None:
    """Return why Slurm cannot be started here; None if it can."""
    missing = [name for name in (*DAEMONS, "sbatch", "squeue") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} not installed (Debian: slurmctld slurmd slurm-client munge)"
    if os.geteuid() != 0:
        return "only root starts the daemons of Slurm"
    conf = SETTINGS / "slurm.conf"
    ours = conf.is_symlink() and conf.readlink() == OneNode.folder / "slurm.conf"
    if os.path.lexists(conf) and not ours:
        return f"{conf} belongs to another Slurm"
    return None


def slurm(*command: str) -> str:
    """Run a command of Slurm and give what it prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


class OneNode:
    """The daemons, and a folder that holds all they need; one at a time on a machine."""

    folder = Path(tempfile.gettempdir()) / "connectomake-slurm"

    def start(self) -> None:
        """Start the daemons, after stopping those of a test that was killed."""
        self.stop()
        for name in ("state", "spool"):
            (self.folder / name).mkdir(parents=True)
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        (self.folder / "slurm.conf").write_text(CONF.format(host=socket.gethostname(), folder=self.folder))
        (self.folder / "gres.conf").write_text(GRES)
        SETTINGS.mkdir(exist_ok=True)
        for name in ("slurm.conf", "gres.conf"):
            (SETTINGS / name).symlink_to(self.folder / name)
        files = {"key-file": "key", "socket": "sock", "log-file": "log", "seed-file": "seed", "pid-file": "pid"}
        paths = [f"--{flag}={self.folder / 'munge.'}{end}" for flag, end in files.items()]
        subprocess.run(["munged", "--force", *paths], check=True)
        (self.folder / "munge.pid").rename(self.folder / "munged.pid")
        subprocess.run(["slurmctld"], check=True)
        subprocess.run(["slurmd"], check=True)
        self._wait_until_idle()

    def stop(self) -> None:
        """Stop the daemons and what runs under them, each by its number, and remove the folder."""
        if (self.folder / "slurmctld.pid").exists() and self._pid("slurmctld"):
            subprocess.run(["scancel", "--user=root"], check=False, timeout=60)
            deadline = time.monotonic() + 30
            while slurm("squeue", "--noheader", "--format=%i") and time.monotonic() < deadline:
                time.sleep(0.2)
        for name in reversed(DAEMONS):
            pid = self._pid(name)
            while pid and self._pid(name):
                os.kill(pid, signal.SIGTERM)
                time.sleep(0.5)
        for name in ("slurm.conf", "gres.conf"):
            (SETTINGS / name).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def state(self, job: str) -> str:
        """Return the state of a job, also of one that has ended."""
        return slurm("squeue", "--states=all", "--noheader", "--format=%T", f"--jobs={job}")

    def running(self, folder: Path) -> list[str]:
        """Return the numbers of the running jobs of Snakemake in a folder."""
        return [number for number, _ in _jobs("RUNNING", folder)]

    def cancel(self, folder: Path, *options: str) -> None:
        """Cancel the running jobs of Snakemake in a folder, or do to them what the options say."""
        slurm("scancel", "--quiet", *options, *self.running(folder))  # quiet of those that have just ended

    def jobs_of(self, rule: str, folder: Path) -> list[str]:
        """Return numbers of a rule's jobs that Snakemake has submitted in a folder, also of those that have ended."""
        return [number for number, of in _jobs("all", folder) if of.startswith(f"rule_{rule}_")]

    def _pid(self, name: str) -> int | None:
        """Return the number of a daemon's process, if it is still the daemon."""
        try:
            pid = int((self.folder / f"{name}.pid").read_text())
            return pid if Path(f"/proc/{pid}/comm").read_text().strip() == name else None
        except (OSError, ValueError):
            return None

    def _wait_until_idle(self) -> None:
        deadline = time.monotonic() + 20
        while "idle" not in slurm("sinfo", "--noheader", "--format=%T"):
            if time.monotonic() > deadline:
                raise RuntimeError((self.folder / "slurmctld.log").read_text()[-2000:])
            time.sleep(0.1)


def _jobs(states: str, folder: Path) -> list[tuple[str, str]]:
    """Return number and rule of the jobs in some states that were submitted from a folder."""
    lines = slurm("squeue", f"--states={states}", "--noheader", "--format=%i|%k|%Z").splitlines()
    jobs = (line.split("|", 2) for line in lines)
    return [(number, rule) for number, rule, where in jobs if Path(where) == folder]
