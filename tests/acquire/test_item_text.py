"""Text of items: UniSRec's rules, and what goes beyond them."""

from __future__ import annotations

import pytest

from decorec.acquire.item_text import clean, is_code, sentences


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("Plain  title", "Plain  title"),
        (["Tools", "Tape &amp; Glue"], "Tools Tape & Glue"),
        ({"a": 1}, "{'a': 1}"),
        (12.5, "12.5"),
        ('19" rack\nmount\r', "19 rackmount"),
        ("&quot;Best&quot; caf&eacute;", "Best café"),
        ("<span class='x'>Wide</span> <br/>tape", "Wide tape"),
        ("&lt;b&gt;Bold&lt;/b&gt; glue", "Bold glue"),
        ("<style>p {color: red}</style>Glue<script>var x = 1;</script>", "Glue"),
        ("<!-- note --><!DOCTYPE html>Glue", "Glue"),
        ("Glue <!-- never closed <!-- nor this", "Glue"),
        ("<!--" * 200_000, ""),  # a search to the end for each of them would take hours
        ("under < 5 and > 3", "under < 5 and > 3"),
        ("a\x00b", "ab"),
        ("Home&nbsp;and&nbsp;garden", "Home and garden"),
        (".box-1{margin:0 auto} .box-2{padding:2px}", ""),
        ("var pageStart = (new Date()).getTime();", ""),
        ("function go() { return 1 }", ""),
        ("Mat {large} (blue), 5:1", "Mat {large} (blue), 5:1"),
        ("Mug {size: large}", "Mug {size: large}"),
        ("Shirt {Color: Blue; Size: L} No.5 C#", "Shirt {Color: Blue; Size: L} No.5 C#"),
        ("Sticker {1: cat} {2: dog}", "Sticker {1: cat} {2: dog}"),
        ("p {color: red} Words", ""),
        ("Words @media screen{.a{zoom:1}}", ""),
        ("x{margin:0;} y{padding:0}", ""),
        ("", ""),
        (["A", None, "B"], "A B"),
    ],
)
def test_clean(value: object, expected: str) -> None:
    assert clean(value) == expected


def test_line_breaks_may_become_blanks() -> None:
    assert clean('19" rack\r\n\r\nmount\n', breaks=" ") == "19 rack mount"
    assert clean(["of\u2028two", None, "lines"], breaks=" ") == "of two lines"


def test_code_is_told_from_words() -> None:
    assert is_code("#a .b{display:none}")
    assert not is_code("Function (kit) {new}")


def test_fields_become_sentences() -> None:
    assert sentences(["Gorilla Glue...", "Tapes Glue", "Gorilla"]) == "Gorilla Glue. Tapes Glue. Gorilla."


def test_an_empty_field_is_a_full_stop_and_an_absent_one_is_nothing() -> None:
    assert sentences(["Gift card", "", "Acme"]) == "Gift card. . Acme."
    assert sentences(["Gift card", None, "Acme"]) == "Gift card. Acme."


def test_a_field_of_two_thousand_characters_is_dropped() -> None:
    assert sentences(["x" * 1998, "Acme"]) == "x" * 1998 + ". Acme."
    assert sentences(["x" * 1999, "Acme"]) == "Acme."


def test_a_text_without_words_is_empty() -> None:
    assert sentences(["", None, "..."]) == ""
    assert sentences([]) == ""
