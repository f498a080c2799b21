"""The text of an item, from fields that may contain lists, entities, tags or the style sheet of a page.

A field becomes a sentence in the same way as in UniSRec's preparation: lists are joined with blanks, HTML entities are
decoded, double quotes and line breaks are deleted, full stops at the end become one, and fields of 2,000 characters or
more are dropped. In addition, tags are removed, and fields that contain code instead of words become empty. A source
may say that line breaks become blanks, so that the last word of a line and the first of the next stay two.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

__all__ = ["TOO_LONG", "clean", "is_code", "sentences"]

TOO_LONG = 2_000
"""Fields of at least this many characters are dropped."""

TAG = re.compile(
    r"<!--.*?(?:-->|\Z)|<(style|script)\b.*?(?:</\1\s*>|$)|</?[a-zA-Z][^<>]*>|<![a-zA-Z][^<>]*>",
    re.DOTALL | re.IGNORECASE,
)
"""Every branch takes time in proportion to the text: what is not closed ends with it."""
BREAKS = re.compile(r"[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]+")
DELETED = re.compile(r"[\"\x00-\x08\x0a-\x1f\x7f]")
PROPERTY = (
    r"-?\b(?:background|border|bottom|box|clear|color|cursor|display|float|font|height|left|line|list|margin|max|min|"
    r"opacity|outline|overflow|padding|position|right|text|top|vertical|visibility|white|width|z)(?:-[a-z-]+)?\s*:"
)
STYLED = rf"\{{[^{{}}]{{0,2000}}{PROPERTY}[^{{}}]{{0,2000}}\}}"
CODE = re.compile(
    r"(?:^|[\s,>{}/])[.#@][A-Za-z_-][^{}]{0,200}\{[^{}]{0,2000}[\w-]\s*:[^{}]{0,2000}\}"
    rf"|(?:^|[\s,>{{}}/])(?:a|body|div|h[1-6]|img|input|li|ol|p|span|t[dhr]|table|ul)\s*{STYLED}"
    rf"|{STYLED}.{{0,2000}}{STYLED}"
    r"|\(new Date\(|\.getTime\(|\bfunction\s*\w*\([^)]{0,500}\)\s*\{",
    re.DOTALL,
)
"""A rule of a style sheet for a class, an id or an element, two rules, or a script. Braces alone are words: a title may
say {size: large}."""


def clean(value: object, *, breaks: str = "") -> str:
    """``value`` as plain text, see the module. A list is joined with blanks; an object becomes its Python text.

    ``breaks`` is what a line break becomes.
    """
    if isinstance(value, list):
        return " ".join(clean(part, breaks=breaks) for part in value if part is not None)
    text = html.unescape(str(value)).replace("\xa0", " ")
    if "<" in text:
        without = TAG.sub(" ", text)
        text = text if without == text else " ".join(without.split())
    if '"' in text or not text.isprintable():
        text = BREAKS.sub(breaks, text) if breaks else text
        text = DELETED.sub("", text)
    text = text.strip()
    return "" if not isinstance(value, dict) and is_code(text) else text


def is_code(text: str) -> bool:
    """Whether ``text`` is part of a style sheet or script, not words."""
    return ("{" in text or "(" in text) and CODE.search(text) is not None


def sentences(cleaned: Iterable[str | None]) -> str:
    """One sentence per cleaned field, joined with blanks; None stands for a missing field, "" for an empty one.

    An empty field becomes a single full stop. One that is too long is left out. A text without any letter or digit
    becomes "".
    """
    parts = [text.rstrip(".") + "." for text in cleaned if text is not None]
    joined = " ".join(part for part in parts if len(part) < TOO_LONG)
    return joined if any(character.isalnum() for character in joined) else ""
