"""Stops a step from within, when its log comes to a certain line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Stopped", "stop", "when_logged"]


class Stopped(BaseException):
    """Ends a step as nothing in the package expects it."""


def stop() -> None:
    """End the step here and now."""
    raise Stopped


class _Watch(logging.Handler):
    def __init__(self, text: str, action: Callable[[], None]) -> None:
        super().__init__()
        self.text, self.action = text, action

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.action()


@contextmanager
def when_logged(text: str, action: Callable[[], None] = stop) -> Iterator[None]:
    """While this is open, ``action`` is called wherever a line of the log has ``text``."""
    log, watch = logging.getLogger("decorec"), _Watch(text, action)
    level = log.level
    log.setLevel(logging.INFO)
    log.addHandler(watch)
    try:
        yield
    finally:
        log.removeHandler(watch)
        log.setLevel(level)
