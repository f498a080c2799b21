"""A SLURM cluster of two nodes on this machine: munged, slurmctld and slurmds with a configuration of their own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["NEEDED", "cluster", "configuration_of", "end_dead", "is_dead", "missing"]

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=20
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
MinJobAge=3600
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0,defer_batch
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
NodeName=first NodeHostname={host} NodeAddr=127.0.0.1 Port={first} CPUs=8 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
NodeName=second NodeHostname={host} NodeAddr=127.0.0.1 Port={second} CPUs=8 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=first,second Default=YES MaxTime=INFINITE State=UP
"""
NODES = ("first", "second")

SYSTEM = Path("/etc/slurm/slurm.conf")
"""Where commands look that were not told of another configuration: those inside a job are not."""
NAME = "decorec-tests.{process}.{start}.conf"
"""Name of the configuration that ``SYSTEM`` links to: it says which process has started the cluster, and when (in clock
ticks, as /proc does), also when its folder is gone."""


def missing() -> str | None:
    """Why no cluster can be started here; None if one can."""
    absent = [name for name in NEEDED if shutil.which(name, path=PATH) is None]
    if absent:
        return f"needs SLURM and munge (as root: make programs), not found: {', '.join(absent)}"
    if os.geteuid() != 0:
        return "needs to be root to start SLURM's daemons"
    there = os.path.lexists(SYSTEM) and not is_dead(SYSTEM)
    return f"{SYSTEM} describes another cluster" if there else None


def configuration_of(process: int) -> str:
    """Name of the configuration of a cluster that this process starts; the process lives."""
    start = _started(process)
    assert start is not None, process
    return NAME.format(process=process, start=start)


def is_dead(link: Path) -> bool:
    """Whether a test run has left this link to its configuration and lives no more."""
    pattern = re.escape(NAME).replace(r"\{process\}", r"(\d+)").replace(r"\{start\}", r"(\d+)")
    found = re.fullmatch(pattern, link.readlink().name) if link.is_symlink() else None
    return found is not None and _started(int(found[1])) != int(found[2])


def end_dead(link: Path) -> None:
    """Remove the link that a killed test run has left, after its daemons, and the jobs that they have started.

    Any other file stays.
    """
    if not is_dead(link):
        return
    told = f"SLURM_CONF={link.readlink()}".encode()
    while left := [process for process in _processes() if told in _environment_of(process)]:
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.05)
    link.unlink()


def _processes() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").glob("[0-9]*")]


def _started(process: int) -> int | None:
    """When a process started, in clock ticks since that of the system; None if it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[19])
    return None


def _environment_of(process: int) -> list[bytes]:
    """NAME=VALUE that a process was started with; none if it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return []


@contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """Start the daemons; yields the environment in which their commands work.

    Their folder has a short name of its own: a job is held for good if the socket of its step, in the spool of its
    node, has a name of more than 107 bytes.

    Each node promises two GPUs that are not there: SLURM hands out their numbers, and steps find no device. It promises
    eight cores as well, so that jobs which need nothing of each other run side by side.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True)))
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (folder / name).mkdir(parents=True)
        values = {
            "folder": folder,
            "host": socket.gethostname().split(".")[0],
            "controller": _free_port(),
            **{node: _free_port() for node in NODES},
        }
        configuration = folder / configuration_of(os.getpid())
        configuration.write_text(CONFIGURATION.format(**values))
        (folder / "gres.conf").write_text("Name=gpu File=/dev/null\nName=gpu File=/dev/zero\n")
        key = folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        SYSTEM.parent.mkdir(exist_ok=True)
        end_dead(SYSTEM)
        SYSTEM.symlink_to(configuration)
        environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(configuration)}
        munged = ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"]
        munged += [f"--{name}-file={folder}/munged.{name}" for name in ("log", "pid", "seed")]
        stack.callback(SYSTEM.unlink)
        for command in (munged, ["slurmctld", "-D", "-c"], *(["slurmd", "-D", "-N", node] for node in NODES)):
            stack.enter_context(_running(command, environment))
        _wait_until_idle(environment, folder)
        yield environment


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[None]:
    program = shutil.which(command[0], path=PATH)
    assert program is not None
    process = subprocess.Popen(
        [program, *command[1:]], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    end = time.monotonic() + 600  # for the message; daemons that start take seconds
    while time.monotonic() < end:
        state = subprocess.run(
            ["sinfo", "--noheader", "-o", "%t %D"], env=environment, capture_output=True, text=True, check=False
        )
        if state.stdout.split() == ["idle", str(len(NODES))]:
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
    raise AssertionError(f"no idle nodes after ten minutes: {state.stdout} {state.stderr}\n{logs}")
