"""A Slurm of one node in a folder, started and stopped by a test; needs root, Slurm and munge."""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue")

CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
ReturnToService=2
MaxArraySize=101
MinJobAge=120
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=32000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why there can be no Slurm here; empty if there can."""
    if os.getuid() != 0:
        return "a Slurm needs root"
    absent = [name for name in PROGRAMS if not _find(name)]
    return f"Slurm is not installed ({', '.join(absent)})" if absent else ""


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Slurm:
    """One node that runs jobs.

    Attributes
    ----------
    env : dict
        Environment in which its programs know it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, []
        for name in ("state", "spool"):
            (folder / name).mkdir(parents=True)
        for path in (folder, *folder.parents):
            if path != Path("/") and path != Path("/tmp"):
                path.chmod(path.stat().st_mode | 0o055)  # munge asks for it
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        host = platform.node().partition(".")[0]
        conf = folder / "slurm.conf"
        conf.write_text(CONF.format(host=host, folder=folder, ports=[_port(), _port()]))
        self.env = os.environ | {"SLURM_CONF": str(conf)}
        names = {"key-file": key, "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
        names |= {"seed-file": "munge.seed"}
        self._start("munged", "--foreground", "--force", *(f"--{k}={folder / v}" for k, v in names.items()))
        self._wait(lambda: (folder / "munge.socket").exists(), "munge")
        self._start("slurmctld", "-D", "-c", "-f", str(conf))
        self._start("slurmd", "-D", "-f", str(conf), "-N", host)
        self._wait(lambda: "idle" in self.run("sinfo", "-h", "-o", "%T", check=False), "the node")

    def _start(self, name: str, *argv: str) -> None:
        log = (self.folder / f"{name}.out").open("w")
        process = subprocess.Popen([str(_find(name)), *argv], env=self.env, stdout=log, stderr=log)
        self.processes.append(process)

    def _wait(self, what, name: str, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not what():
            if time.monotonic() > until:
                logs = "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))
                raise TimeoutError(f"{name} did not come: {logs}")
            time.sleep(0.2)

    def run(self, *argv: str, check: bool = True, **more) -> str:
        """Run a program that knows this Slurm; returns what it prints."""
        return subprocess.run(
            argv,
            env=self.env | more,
            check=check,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ).stdout

    def wait(self, seconds: float, but: tuple[str, ...] = ()) -> None:
        """Wait until all jobs have ended, but for some."""
        self._wait(lambda: not self._jobs() - set(but), "the end of the jobs", seconds)

    def _jobs(self) -> set[str]:
        return set(self.run("squeue", "-h", "-o", "%F", check=False).split())

    def stop(self) -> None:
        """End all its processes."""
        self.run("scancel", "--user=root", "--full", "--signal=KILL", check=False)
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def _port() -> int:
    """Return a free port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
