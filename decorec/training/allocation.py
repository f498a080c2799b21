"""What SLURM has given to a job: its nodes, and programs on them; and how a machine reaches another one."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress

from decorec.errors import DecorecError
from decorec.gpus import OFFERED, VISIBLE

__all__ = ["environment", "expect", "interface_to", "on_node"]

KEPT = ("SLURM_JOB_ID", "SLURM_CONF")
"""What srun has to know of the job. Other variables of SLURM are values for the options of srun, from the command that
made the job or a step of it, and do not fit a step of one task."""
ADDRESS_OF = 0x8915
"""Asks Linux for the address (IPv4) of a network interface: SIOCGIFADDR."""


def expect(nodes: int) -> None:
    """Refuse several nodes where there is one machine.

    Raises:
        DecorecError: this is no job of SLURM.
    """
    job, srun = os.environ.get("SLURM_JOB_ID"), shutil.which("srun")
    if nodes > 1 and (job is None or srun is None):
        found = "no job of SLURM (SLURM_JOB_ID)" if job is None else "no program srun"
        raise DecorecError(
            f"train.nodes: expected a job of SLURM for a training on {nodes} nodes, found {found}; start snakemake "
            "with --profile profiles/slurm, or set train.nodes to 1 and train.devices to the processes of one machine"
        )


def on_node(node: int, gpus: int, command: Sequence[str]) -> list[str]:
    """The command that runs ``command`` on one node of the job, with the memory, the cores and the GPUs of it there.

    Args:
        node: its number, from 0.
        gpus: to ask for, if the job has any.
        command: program and arguments.
    """
    # A step of one node does not find out by itself how many of the job's GPUs are there, and is refused.
    wanted = f"--gpus-per-node={gpus}" if os.environ.get(VISIBLE) else "--gres=none"
    options = ["--overlap", "--nodes=1", "--ntasks=1", f"--relative={node}", "--cpu-bind=none", "--mpi=none", wanted]
    return ["srun", *options, *command]


def environment() -> dict[str, str]:
    """That of srun."""
    options = ("SLURM_", "SRUN_", OFFERED)
    return {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith(options)}


def interface_to(address: str) -> str:
    """Name of the network interface by which this machine reaches another one, or itself.

    Raises:
        DecorecError: it is not known.
    """
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.connect((address, 9))  # nothing is sent
        own = socket.inet_aton(asking.getsockname()[0])
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # one without an address
                if fcntl.ioctl(asking, ADDRESS_OF, struct.pack("256s", name.encode()))[20:24] == own:
                    return name
    raise DecorecError(
        f"train.nodes: expected a network interface of {socket.gethostname()} that reaches {address}, found none; name "
        "one that all nodes have in the environment variable GLOO_SOCKET_IFNAME"
    )
