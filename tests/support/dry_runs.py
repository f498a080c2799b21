"""Dry runs of Snakemake, each a fork of a process that has imported it.

A call that runs no job is import for the most part: of two and a half seconds of processor time, a fork takes one. The
forked process has read nothing but modules, none of the workflow or of this package, so that each call sees the files
of its own folder. Hash seed and ``PYTHONPATH`` are those of that process, and so is the "run directory" of the log,
which nothing reads.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["dry_run"]

MODULES = ("snakemake.cli", "pydantic", "yaml")
PLUGINS = ("snakemake_executor_plugin_", "snakemake_storage_plugin_")
"""How the names of the modules begin that Snakemake looks for and imports in every call."""
OUTPUTS = ("stdout", "stderr")


def dry_run(arguments: Sequence[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """What ``python -m snakemake ARGUMENTS`` gives in a folder."""
    assert "--dry-run" in arguments, "jobs belong into a process that nothing is shared with"
    with TemporaryDirectory() as place:
        files = [f"{place}/{name}" for name in OUTPUTS]
        request = {"arguments": arguments, "folder": str(folder), "environment": dict(environment), "files": files}
        server = _server()
        assert server.stdin is not None and server.stdout is not None
        print(json.dumps(request), file=server.stdin, flush=True)
        answer = server.stdout.readline()
        assert answer, f"the process for dry runs has ended with status {server.wait()}"
        texts = [Path(file).read_text(encoding="utf-8") for file in files]
    return subprocess.CompletedProcess(["snakemake", *arguments], int(answer), *texts)


@cache
def _server() -> subprocess.Popen[str]:
    """The process that forks; it ends with this one, whose end closes its standard input."""
    command = [sys.executable, "-P", __file__]
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}  # numpy starts no threads
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _serve() -> None:
    plugins = [module.name for module in pkgutil.iter_modules() if module.name.startswith(PLUGINS)]
    for name in (*MODULES, *plugins):
        importlib.import_module(name)
    (_,) = Path("/proc/self/task").iterdir()  # a fork has no other thread than the one that forked
    assert "decorec" not in sys.modules
    gc.freeze()
    for line in sys.stdin:
        request = json.loads(line)
        if not (process := os.fork()):
            _become(**request)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(arguments: list[str], folder: str, environment: dict[str, str], files: list[str]) -> None:
    """In the fork: be the call, and end."""
    from snakemake.cli import main

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, folder)
    sys.argv[:] = [str(Path(sys.modules["snakemake"].__path__[0]) / "__main__.py"), *arguments]
    for number, file in enumerate((os.devnull, *files)):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)
    try:
        main()
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise  # a text to print: Python ends the process, as after any other error
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code)  # to clear up all modules takes a tenth of the time


if __name__ == "__main__":
    _serve()
