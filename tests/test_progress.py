"""The lines that a long step writes into its log."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from decorec import progress


@pytest.mark.parametrize(
    ("seconds", "left", "expected"),
    [
        (40.0, "left at most", "label: 1 of 4 epochs (25%), 40.0 s per epoch, 120 s left at most"),
        (2_000.0, "left", "label: 1 of 4 epochs (25%), 2000.0 s per epoch, 100 min left"),
        (0.25, "left", "label: 1 of 4 epochs (25%), 4.0/s, 1 s left"),
    ],
)
def test_a_slow_unit_is_given_in_seconds_each(
    seconds: float, left: str, expected: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", logger="decorec")
    clock = iter([0.0, seconds])
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with progress.progress("label", 4, "epochs", left) as advance:
        advance(1)
    assert caplog.messages == [expected]
