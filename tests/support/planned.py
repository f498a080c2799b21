"""Plans for configurations of a few lines."""

from __future__ import annotations

from decorec.config import load
from decorec.plan.plan import Plan

__all__ = ["plan"]


def plan(**sections: object) -> Plan:
    """What is planned for the sample shop, or for other ``datasets``, with these sections of the configuration."""
    return Plan(load({"datasets": {"shop": {"source": "sample"}}, **sections}))
