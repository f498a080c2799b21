"""Section of the workers that count what does not fit into the memory of one process."""

from __future__ import annotations

from pydantic import Field

from decorec.config.base import Section

__all__ = ["DaskConfig"]


class DaskConfig(Section):
    """Who counts the co-occurrence. No result depends on it, so a change computes nothing again."""

    scheduler: str | None = Field(None, pattern=r"^(local|tcp://[^\s/]+:\d+)$")
    """null: threads of one process, in its memory. local: processes that the step starts, as many as the rule has
    threads. tcp://HOST:PORT: the workers of a running scheduler of dask, which see the folder of the results."""
    memory: float = Field(4, ge=0.5)
    """GB of each of the processes of local, a quarter of one for its libraries; what does not fit lies on the disk."""

    def beside(self, threads: int) -> float:
        """GB of the processes that a step with ``threads`` starts beside itself."""
        return threads * self.memory if self.scheduler == "local" else 0
