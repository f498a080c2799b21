"""docs/explanation/security.md names modules and tests that exist."""

from __future__ import annotations

import re

from tests.support.workplace import REPOSITORY

PAGE = (REPOSITORY / "docs/explanation/security.md").read_text(encoding="utf-8")


def test_every_statement_names_a_module_and_a_test_that_exist() -> None:
    rows = re.findall(r"^\| (?!what is held|---)(.*) \| `([^`]+)` \| `([^`:]+): (\w+)` \|$", PAGE, re.MULTILINE)
    assert len(rows) == len(re.findall(r"^\| (?!what is held)", PAGE, re.MULTILINE)), "a row lacks one of the two"
    for statement, module, file, test in rows:
        assert (REPOSITORY / module).is_file(), statement
        assert f"\ndef {test}(" in (REPOSITORY / file).read_text(encoding="utf-8"), statement


def test_every_key_that_is_named_is_one_of_the_crawl() -> None:
    from decorec.config.acquire import CrawlConfig

    assert set(re.findall(r"`crawl\.(\w+)`", PAGE)) <= set(CrawlConfig.model_fields)
