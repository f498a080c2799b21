"""Command status: what the last call of Snakemake in the working directory has done, does, and has still to do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from decorec.artifacts import layout, step_log
from decorec.errors import DecorecError
from decorec.plan.call import Call
from decorec.plan.estimate import duration, expected
from decorec.plan.jobs import Job
from decorec.plan.left import in_words
from decorec.plan.running import SNAKEMAKE, Run, living

__all__ = ["report", "status"]

LAST = 5
"""Lines of a log that are shown, and lines of results/log.jsonl."""
MOST = 10
"""Failed jobs whose logs are shown."""


def status() -> None:
    """Say what the last (or running) call of Snakemake in the working directory has done, does, and has still to do.

    Nothing is changed and no lock is needed; it may be asked from another terminal at any time.

    Raises:
        DecorecError: the working directory is not one in which Snakemake makes results.
    """
    if not Path("config.yaml").is_file() and not SNAKEMAKE.is_dir():
        raise DecorecError(
            f"{Path.cwd()}: expected the folder in which snakemake runs, found neither config.yaml nor {SNAKEMAKE}/; "
            "change into it"
        )
    print(report(Call.read(SNAKEMAKE)))


def report(call: Call | None) -> str:
    """What to say of a call in the working directory; of the last steps, if no call is recorded."""
    steps, damaged = step_log.read(Path(layout.STEP_LOG))
    lines = _call(call, steps) if call is not None else _steps(steps)
    if damaged:
        lines.append(f"{layout.STEP_LOG}: {damaged} lines are cut off or damaged, and passed over")
    return "\n".join(lines)


def _call(call: Call, steps: Sequence[dict[str, Any]]) -> list[str]:
    alive = call.run.id in living(SNAKEMAKE)
    running, failed, waiting = call.of("running"), call.of("failed"), call.of("waiting")
    cut = [] if alive else running
    parts = {"done": call.of("done"), "running": running if alive else [], "failed": failed}
    parts |= {"cut off": cut, "waiting": waiting, "not needed any more": call.of("unneeded")}
    counts = ", ".join(f"{len(jobs)} {what}" for what, jobs in parts.items() if jobs or what == "done")
    lines = [f"{call.run.command}", _life(call, alive), f"{len(call.jobs)} jobs: {counts}"]
    lines += _cost(call, steps)
    if running or waiting:
        lines.append(in_words(call, expected(call.jobs)))
    for title, jobs in (("running", running if alive else []), ("cut off by the end of the call", cut)):
        if jobs:
            lines += [f"{title}:", *(_line(call, job, alive) for job in jobs)]
    if waiting:
        lines.append(f"waiting: {_by_step(waiting)}")
    if failed:
        lines.append("failed:")
        for job in failed[:MOST]:
            lines += [f"  {job.step} {job.name}: {layout.log(job.name)}", *(f"    {line}" for line in _tail(job, LAST))]
        lines += [f"  and {len(failed) - MOST} more"] * (len(failed) > MOST)
    return lines


def _life(call: Call, alive: bool) -> str:
    begun = f"started {_moment(call.start)}"
    if alive:
        return f"runs: process {call.run.pid} on {call.run.host}, {begun}"
    if call.end is not None:
        return f"has ended: {begun}, ended {_moment(call.end)}, after {duration(call.end - call.start)}"
    this = Run.this()
    if not call.run.id or (call.run.host != this.host and call.run.boot != this.boot):
        return f"{begun} on {call.run.host}; from {this.host} nobody can tell whether it still runs"
    return f"was killed: {begun}; the same command goes on where it stopped"


def _cost(call: Call, steps: Sequence[dict[str, Any]]) -> list[str]:
    """What the steps that have ended since the start of the call took, by their log."""
    since = datetime.fromtimestamp(call.start, UTC).isoformat(timespec="seconds")
    ended = [step for step in steps if str(step["time"]) >= since and step["outcome"] == "done"]
    if not ended:
        return []
    processor = sum(float(step.get("processor_seconds", 0)) for step in ended)
    most = max(ended, key=lambda step: float(step.get("peak_memory_mb", 0)))
    memory = float(most.get("peak_memory_mb", 0)) / 1e3
    return [
        f"so far {duration(processor)} of processor time; most memory: {memory:.1f} GB, {most['step']} of "
        f"{most.get('output', '')}"
    ]


def _line(call: Call, job: Job, alive: bool) -> str:
    """A job that runs, or ran when its call ended, with what it said last."""
    spent = f", {duration(time.time() - call.states[job.name].since)}" if alive else ""
    last = next(iter(_tail(job, 1)), "")
    return f"  {job.step} {job.name}{spent}" + (f": {last}" if last else "")


def _tail(job: Job, count: int) -> list[str]:
    """The last lines of a job's log."""
    try:
        text = Path(layout.log(job.name)).read_bytes()[-20_000:].decode(errors="replace")
    except OSError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]


def _by_step(jobs: Sequence[Job]) -> str:
    return ", ".join(f"{count} {step}" for step, count in Counter(job.step for job in jobs).most_common())


def _steps(steps: Sequence[dict[str, Any]]) -> list[str]:
    """The last steps, where no call is known."""
    lines = ["No call of Snakemake is recorded here."]
    for step in steps[-LAST:]:
        end = f": {step['message']}" if step.get("message") else ""
        lines.append(f"  {step['time']} {step['step']} {step.get('output', '')} {step['outcome']}{end}")
    return lines


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
