"""Addresses as they may be printed and stored."""

from __future__ import annotations

import re

__all__ = ["without_passwords"]

USER_INFORMATION = re.compile(r"(?:(?<=://)|(?<=^//))[^\s/?#]*@")
"""Only at the start of a text can // begin an address: elsewhere it may stand in the path of a file."""


def without_passwords(text: str) -> str:
    """A URL, or a text with URLs in it, without the users and passwords of URLs: the form to print and to store."""
    return USER_INFORMATION.sub("", text)
