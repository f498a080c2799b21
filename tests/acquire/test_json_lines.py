"""Dirty gzipped JSON lines: every good record arrives, every bad line is counted."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from decorec.acquire import gzip_files, json_lines
from decorec.acquire.json_lines import LONGEST, read_records
from decorec.errors import DecorecError

BAD = [b'{"a": "cut o', b"not json", b"{'a': 'python'}", b'{"a": "1"}{"a": "2"}', b'{"a": NaN}', b"}", b'{"a": "\x00"}']


def write(path: Path, lines: list[bytes], end: bytes = b"\n") -> Path:
    path.write_bytes(gzip.compress(end.join(lines) + end))
    return path


def collect(path: Path, fields: list[str]) -> tuple[pl.DataFrame, dict[str, int]]:
    frame, counts = read_records(path, fields, "records", lambda records: records)
    return frame, {name: counts[name] for name in ("lines", "not JSON", "undecodable characters")}


def test_every_type_becomes_text(tmp_path: Path) -> None:
    records = [
        {"a": "word", "b": 5.0},
        {"a": ["x", 'y"z'], "b": "4"},
        {"a": {"k": "v"}, "b": 1529193600},
        {"a": None},
        {"c": 1},
    ]
    frame, counts = collect(write(tmp_path / "f.gz", [json.dumps(record).encode() for record in records]), ["a", "b"])
    assert [json.loads(text) for text in frame["a"][1:3]] == [["x", 'y"z'], {"k": "v"}]
    assert frame["a"].to_list()[0] == "word" and frame["a"].to_list()[3:] == [None, None]
    assert [None if text is None else float(text) for text in frame["b"]] == [5.0, 4.0, 1529193600.0, None, None]
    assert counts == {"lines": 5, "not JSON": 0, "undecodable characters": 0}


def test_bad_lines_are_counted_and_cost_no_other(tmp_path: Path) -> None:
    good = [json.dumps({"a": f"v{n}", "b": [n]}).encode() for n in range(1000)]
    lines = list(good)
    for number, bad in enumerate(BAD):
        lines.insert(number * 117, bad)
    frame, counts = collect(write(tmp_path / "f.gz", lines), ["a", "b"])
    assert frame["a"].to_list() == [f"v{n}" for n in range(1000)]
    assert counts["lines"] == 1000 + len(BAD) and counts["not JSON"] == len(BAD)


def test_a_record_that_is_broken_over_two_lines_is_two_bad_lines(tmp_path: Path) -> None:
    for broken in ([b'{"', b'a": "1"}'], [b'{"a": "1', b'2"}'], [b'{"a":', b'"1"}']):
        frame, counts = collect(write(tmp_path / "f.gz", [b'{"a": "x"}', *broken, b'{"a": "y"}']), ["a"])
        assert frame["a"].to_list() == ["x", "y"]
        assert counts == {"lines": 4, "not JSON": 2, "undecodable characters": 0}


@given(st.lists(st.one_of(st.integers(0, 9).map(lambda n: json.dumps({"a": n}).encode()), st.sampled_from(BAD))))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_any_mixture(tmp_path: Path, lines: list[bytes]) -> None:
    expected = [str(json.loads(line)["a"]) for line in lines if line not in BAD]
    frame, counts = collect(write(tmp_path / "f.gz", lines), ["a"])
    assert frame["a"].to_list() == expected
    assert counts.get("not JSON", 0) == len(lines) - len(expected)


def test_a_bad_line_far_into_the_file_neither_repeats_nor_loses_any(tmp_path: Path) -> None:
    """Records before it are read in batches that must not be read again."""
    lines = [b'{"a": %d, "pad": "%s"}' % (n, b"x" * (n % 900)) for n in range(60_000)]
    lines[50_000:50_000] = [b"", b'{"a": cut', b"  "]
    frame, counts = collect(write(tmp_path / "f.gz", lines), ["a"])
    assert frame["a"].cast(pl.Int64).to_list() == list(range(60_000))
    assert counts == {"lines": 60_001, "not JSON": 1, "undecodable characters": 0}


def test_broken_characters_are_replaced_and_counted(tmp_path: Path) -> None:
    lines = [b'{"a": "caf\xe9"}', '{"a": "café\u2028x"}'.encode()]
    frame, counts = collect(write(tmp_path / "f.gz", lines), ["a"])
    assert frame["a"].to_list() == ["caf\ufffd", "café\u2028x"]
    assert counts["undecodable characters"] == 1


def test_blank_lines_line_ends_and_joined_members(tmp_path: Path) -> None:
    path = write(tmp_path / "f.gz", [b'{"a": 1}', b"", b"   ", b'{"a": 2}'], b"\r\n")
    path.write_bytes(path.read_bytes() + gzip.compress(b'{"a": 3}'))
    frame, counts = collect(path, ["a"])
    assert frame["a"].to_list() == ["1", "2", "3"] and counts["lines"] == 3


def test_order_holds_over_many_batches(tmp_path: Path) -> None:
    lines = [b'{"a": %d, "pad": "%s"}' % (n, b"x" * (n % 500)) for n in range(100_000)]
    frame, _ = collect(write(tmp_path / "f.gz", lines), ["a"])
    assert frame["a"].cast(pl.Int64).to_list() == list(range(100_000))


def test_with_and_without_bad_lines_the_same_records(tmp_path: Path) -> None:
    values: list[object] = ["x", 5, 2.5, True, None, ["a", {"b": "c"}], {"d": [1, "é\n"]}, "", "[odd"]
    lines = [json.dumps({"a": value, "b": values[-index]}).encode() for index, value in enumerate(values)]
    good, _ = collect(write(tmp_path / "good.gz", lines), ["a", "b"])
    bad, counts = collect(write(tmp_path / "bad.gz", [*lines, b"{"]), ["a", "b"])
    assert counts["not JSON"] == 1
    assert good.rows() == bad.rows()


@pytest.mark.parametrize("end", [b'"}\n', b"\n", b""])
def test_a_line_that_is_too_long_is_counted_and_not_held(tmp_path: Path, end: bytes) -> None:
    lines = [b'{"a": %d}\n' % n for n in range(2_000)]
    with gzip.open(tmp_path / "f.gz", "wb", 1) as file:
        file.writelines(lines[:1_000])
        file.write(b'{"a": "')
        for _ in range(LONGEST // 1_000_000 + 2):
            file.write(b"x" * 1_000_000)
        file.write(end)
        file.writelines(lines[1_000:] if end else [])
    tracemalloc.start()
    frame, counts = read_records(tmp_path / "f.gz", ["a"], "records", lambda records: records)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert frame["a"].cast(pl.Int64).to_list() == list(range(2_000 if end else 1_000))
    assert counts == {"lines": len(frame) + 1, "line too long": 1}
    assert peak < LONGEST + 3 * gzip_files.BLOCK


@pytest.mark.parametrize(("length", "lost"), [(100, 0), (101, 1)])
def test_the_longest_line_that_is_read(tmp_path: Path, length: int, lost: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "LONGEST", 100)
    monkeypatch.setattr(gzip_files, "BLOCK", 32)
    line = b'{"a": "' + b"x" * (length - 10) + b'"}\n'
    assert len(line) == length
    path = tmp_path / "f.gz"
    path.write_bytes(gzip.compress(b'{"a": "1"}\n' + line + b'{"a": "2"}\n') + gzip.compress(line[:-1]) + bytes(9))
    frame, counts = read_records(path, ["a"], "records", lambda records: records)
    assert len(frame) == 4 - lost and counts == Counter({"lines": 4, "line too long": lost})


def test_a_file_that_is_not_gzip(tmp_path: Path) -> None:
    (tmp_path / "f.gz").write_bytes(b"<html>Sorry</html>")
    with pytest.raises(DecorecError, match=r"f\.gz: expected records, gzipped, found .* starts with b'<h'"):
        collect(tmp_path / "f.gz", ["a"])


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DecorecError, match=r"f\.gz: expected records, found no such file"):
        collect(tmp_path / "f.gz", ["a"])


@pytest.mark.parametrize("bad", [b"", b"{"])
def test_a_truncated_file(tmp_path: Path, bad: bytes) -> None:
    path = write(tmp_path / "f.gz", [bad, *(json.dumps({"a": n}).encode() for n in range(10_000))])
    path.write_bytes(path.read_bytes()[:5_000])
    with pytest.raises(DecorecError, match=r"f\.gz: expected records, found a file that cannot be read"):
        collect(path, ["a"])


@pytest.mark.parametrize("place", [-8, -1])
def test_a_wrong_checksum_or_length(place: int, tmp_path: Path) -> None:
    path = write(tmp_path / "f.gz", [b'{"a": 1}'])
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DecorecError, match=r"f\.gz: expected records, found a file that cannot be read"):
        collect(path, ["a"])
