"""What pages say about the code is so: files, functions, links, keys and flags that they name exist."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml

from decorec.cli import _parser_of
from decorec.steps import STEPS, step_function
from decorec.tables.labels import label
from docs.generate import cells, commands, configuration, curves, scale
from docs.generate.figures import FIGURES, Bar, drawn
from docs.generate.source import definition
from tests.support.workplace import REPOSITORY

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"`([\w/.-]+\.py):\s+([\w.,\s]+)`")
"""`decorec/data/kcore.py: kcore`, or several names behind one file."""


@cache
def tracked() -> list[str]:
    """The files of the repository, also those that are not committed yet."""
    call = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(call, cwd=REPOSITORY, capture_output=True, text=True)
    if found.returncode:
        pytest.skip("not a git repository")
    return [name for name in found.stdout.splitlines() if (REPOSITORY / name).is_file()]


def text_of(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def pages() -> list[str]:
    return [name for name in tracked() if name.endswith(".md")]


def anchors(text: str) -> set[str]:
    """Of the headings, as hosts of repositories make them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    plain = (re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title) for title in titles)
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in plain}


def test_links_lead_somewhere_without_the_site() -> None:
    """The notebooks alone are generated with it."""
    assert {"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "config/README.md"} <= set(pages())
    for name in pages():
        text = text_of(name)
        for link in [*LINK.findall(text), *re.findall(r'src="([^"]+)"', text)]:
            if "://" in link or link.endswith(".ipynb"):
                continue
            path, _, anchor = link.partition("#")
            target = (REPOSITORY / name).parent / path if path else REPOSITORY / name
            assert target.exists(), f"{name}: {link}"
            assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), f"{name}: {link}"


def test_every_page_that_code_names_is_there() -> None:
    """Comments, messages, captions and tests say docs/....md."""
    named = 0
    for name in tracked():
        if name.endswith((".py", ".smk", ".yaml", ".rst", ".jinja", ".md", ".yml", "Makefile", "Snakefile")):
            for page in re.findall(r"(?<![\w/])docs/[\w/-]+\.(?:md|ipynb|svg)", text_of(name)):
                assert (REPOSITORY / page).is_file(), f"{name}: {page}"
                named += 1
    assert named > 40


def test_calls_on_pages_have_options_that_exist_and_swallow_no_target() -> None:
    """An option with several values, such as --configfile, takes a target that stands behind it for one of them."""
    from snakemake.cli import get_argument_parser

    parser, calls = get_argument_parser(), set()
    for name in pages():
        lines = text_of(name).replace("\\\n", " ")
        calls |= {(name, call) for call in re.findall(r"(?:^ *|`)(snakemake [^`\n|>#]+)", lines, re.MULTILINE)}
    calls = {(name, call) for name, call in calls if "..." not in call}
    assert len(calls) > 40
    for name, call in calls:
        given = parser.parse_args(shlex.split(call)[1:])
        values = map(str, [*given.configfile, *given.until, *given.forcerun])
        assert not [value for value in values if value.startswith("results/")], f"{name}: {call}"


def named_definitions() -> Iterator[tuple[str, str, str]]:
    """Page, file and name of every definition that a page names."""
    for name in pages():
        if name.startswith(("docs/", "README")) and not name.startswith(("docs/how-to/new-", "docs/log")):
            for file, names in NAMED.findall(text_of(name)):
                yield from ((name, file, one.strip()) for one in names.split(","))


def test_every_function_that_a_page_names_is_there() -> None:
    found = set(named_definitions())
    assert len(found) > 80
    for page, file, name in found:
        places = [one for one in tracked() if f"/{one}".endswith(f"/{file}") and not one.startswith("tests/support/")]
        assert places, f"{page}: {file}"
        path = file if file in places else next((one for one in places if one == f"decorec/{file}"), places[0])
        assigned = rf"^ *(?:self\.)?{name.rpartition('.')[2]}\b[^\n=]*="
        if not re.search(assigned, text_of(path), re.MULTILINE):
            definition(path, name)


def test_the_tables_of_keys_are_those_of_the_schema() -> None:
    assert text_of("config/README.md") == configuration.readme(), "run: python -m docs.generate"


def printed(page: str, history: str, column: str) -> dict[str, str]:
    """A column of the table of each run of a page of results, as printed, by the run's label."""
    (table,) = re.findall(
        rf"^### True cut-offs, history {history}\n\n(.*?)\n\n", text_of(page), re.DOTALL | re.MULTILINE
    )
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines()]
    place = rows[0].index(column)
    return {row[0]: row[place].partition(" ")[0] for row in rows[2:]}


def test_the_figures_of_the_first_page_are_those_of_the_results() -> None:
    text = " ".join(text_of("README.md").split())
    pages = ("docs/results.md", "docs/results-hm-large.md", "docs/results-hm.md")
    names = [label(run) for run in ("decorec", "decorec-plus", "content-ease")]
    found = {(page, history): printed(page, history, "NDCG@10") for page in pages for history in ("kept", "masked")}
    described, plus, closed = ({key: values[name] for key, values in found.items()} for name in names)
    real, large, small = ((page, "kept") for page in pages)
    counted = {key: len(values) for key, values in found.items()}
    (users,) = re.findall(r"^([\d,]+) users ranked", text_of(pages[2]), re.MULTILINE)
    in_words = {"1": "one", "3": "three", "5": "five"}
    seeds = {page: in_words[printed(page, "kept", "seeds")[names[0]]] for page in pages}
    for claim in (
        f"Scientific {described[real]} and {closed[real]}, {seeds[pages[0]]} seeds; "
        f"large H&M {described[large]} and {closed[large]}, {seeds[pages[1]]}; "
        f"on H&M, {described[small]} and {closed[small]}, {seeds[pages[2]]}, {users} customers",
        f"({plus[real]} of {counted[real]} models; {plus[large]} of {counted[large]}; "
        f"H&M {plus[small]} of {counted[small]},",
        "("
        + "; ".join(
            f"{place}{plus[page, 'masked']} and {closed[page, 'masked']}"
            for page, place in zip((pages[0], pages[2], pages[1]), ("", "", "large H&M "), strict=True)
        )
        + ")",
    ):
        assert claim in text, claim


def test_charts_show_what_the_tables_of_their_pages_say() -> None:
    page = text_of("docs/performance.md")
    for name, figure in FIGURES.items():
        assert text_of(f"docs/images/{name}.svg") == drawn(figure), f"{name}.svg: run: python -m docs.generate"
        assert f"(images/{name}.svg)]({figure.page}#" in page, f"docs/performance.md: {name}.svg"


def test_a_chart_without_its_cell_is_refused() -> None:
    figure = FIGURES["crawl"]
    for without in (replace(figure, bars=(Bar("no row", "nobody"),)), replace(figure, column="colour")):
        with pytest.raises(ValueError, match=r"Crawl beside img2dataset: expected a number in '"):
            drawn(without)


def test_curves_go_through_all_rows_of_their_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = curves.drawn()
    assert curves.FILE.read_text(encoding="utf-8") == drawing, "run: python -m docs.generate"
    assert f"](images/{curves.FILE.name})" in text_of("docs/scale.md")
    shutil.copytree(REPOSITORY / "docs/performance", tmp_path / "docs/performance")
    page = tmp_path / "docs/performance/data.md"
    text, row = page.read_text(encoding="utf-8"), "| 10,000,000 | 11.90 s | 1.66 GB |\n"
    assert row in text
    page.write_text(text.replace(row, f"{row}| 100,000,000 | 90.5 s | |\n| 200,000,000 | | |\n"), encoding="utf-8")
    monkeypatch.setattr(cells, "REPOSITORY", tmp_path)
    assert curves.drawn().count('class="mark"') == drawing.count('class="mark"') + 1
    page.write_text(text.replace("| 3,000,000 | 5.08 s", "|").replace(row, ""), encoding="utf-8")
    with pytest.raises(ValueError, match="expected two rows with 'interactions' and 'co-occurrence', found 1"):
        curves.drawn()


def test_the_tables_of_scale_follow_from_the_pages_that_they_name() -> None:
    table = scale.steps()
    for step in scale.STEPS:
        assert f"]({step.cell.anchor})" in table
        assert step.cell.anchor.split("#")[1] in anchors(text_of(f"docs/{step.cell.page}"))
        assert replace(step, there=2 * step.there).hours() == pytest.approx(2 * step.hours())
    (ingest,) = [step for step in scale.STEPS if step.name == "ingest"]
    spent = replace(ingest, there=int(ingest.amount[0].replace(",", ""))).hours() * 3600
    assert float(ingest.cell.text().removesuffix(" s")) == pytest.approx(spent)


def test_an_amount_that_no_page_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "STEPS", (replace(scale.STEPS[0], amount=("9,998,476",)),))
    with pytest.raises(ValueError, match=r"data.md: expected the amount 9,998,476 of ingest, found none"):
        scale.steps()


def test_every_key_has_a_row() -> None:
    from decorec.config import Config

    page = configuration.page()
    for name in Config.model_fields:
        assert f"\n## {name}\n" in page or f"\n| `{name}` |" in page, name
    links = set(re.findall(r"\]\(#([\w-]+)\)", page))
    assert links and links <= anchors(page)
    assert "Not written if" not in page, "how a key is tracked is nothing for its user"


@pytest.mark.parametrize("name", ["ingest", "cooccurrence", "crawl", "figure", "init", "estimate"])
def test_the_page_of_commands_has_the_flags_of_the_parser(name: str) -> None:
    (section,) = re.findall(rf"^### decorec {name} {{.*?(?=^##)", commands.page(), re.DOTALL | re.MULTILINE)
    shown = set(re.findall(r"`(--[\w-]+)", section))
    parser = _parser_of(name, step_function(name))
    flags = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
    common = flags - shown - {"--help"}
    assert shown <= flags and all(f"`{flag}" in commands.INTRODUCTION for flag in common), common
    assert ("`--configfile FILE ...`" in section) == (name == "estimate")
    assert ("`FOLDER`" in section) == (name == "init")


def test_every_step_is_on_the_page_of_commands() -> None:
    page = commands.page()
    assert [*STEPS] == re.findall(r"^### decorec (\S+) {", page, re.MULTILINE)


def test_the_citation_names_the_paper_and_this_version() -> None:
    citation = yaml.safe_load(text_of("CITATION.cff"))
    version = ast.literal_eval(re.findall(r"^__version__ = (.*)$", text_of("decorec/__init__.py"), re.MULTILINE)[0])
    assert citation["version"] == version
    paper = citation["preferred-citation"]
    assert paper["doi"] == "10.1145/3746027.3755475" and len(paper["authors"]) == 6 and paper["year"] == 2025


def test_the_workflow_of_the_host_runs_the_gate() -> None:
    (job,) = yaml.safe_load(text_of(".github/workflows/main.yml"))["jobs"].values()
    assert {"run": ".ci/run"} in job["steps"] and Path(REPOSITORY / ".ci/run").is_file()
    usage = yaml.safe_load(text_of(".snakemake-workflow-catalog.yml"))["usage"]
    assert {"mandatory-flags", "software-stack-deployment", "report"} <= set(usage)
