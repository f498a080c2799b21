"""A table and its files: csv, LaTeX (booktabs), an html page, and Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Literal

import polars as pl

from decorec.artifacts.files import read_text, write_csv, write_text
from decorec.errors import DecorecError

__all__ = [
    "Cell",
    "Group",
    "Table",
    "emphasise",
    "fragment",
    "markdown_rows",
    "percent",
    "table_html",
    "table_markdown",
    "write",
]

Emphasis = Literal["", "best", "second"]

LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "±": r"$\pm$",
}
STYLE = (
    "body{font:16px/1.45 system-ui,sans-serif;margin:1.5rem;color:#1a1a1a;background:#fff}"
    # If scroll bars are hidden, a shadow at the right edge shows that there is more; at the end white hides it.
    ".scroll{overflow-x:auto;background:linear-gradient(270deg,#fff 30%,#fff0) 100% 0/2.5rem 100% no-repeat local,"
    "linear-gradient(270deg,#0004,#0000) 100% 0/.8rem 100% no-repeat scroll}table{border-collapse:collapse}"
    "caption{text-align:left;font-weight:600;padding-bottom:.5rem}"
    # A caption and a row heading are as wide as their table; their text stays visible when it is scrolled.
    "th[scope=rowgroup]>span{white-space:normal}"
    "caption>span,th[scope=rowgroup]>span{position:sticky;left:0;display:inline-block;"
    "max-width:calc(min(100vw,80rem) - 3rem)}"
    "th,td{padding:.3rem .7rem;text-align:right;white-space:nowrap;vertical-align:top}"
    "th[scope=row],th[scope=rowgroup],thead th:first-child{text-align:left}"
    "thead th{border-top:2px solid;border-bottom:1px solid}tbody tr:first-child th{border-top:1px solid #999}"
    "tbody:last-of-type tr:last-child>*{border-bottom:2px solid}small{color:#555}ul{padding-left:1.2rem}"
)


@dataclass(frozen=True)
class Cell:
    """One printed value."""

    value: str = ""
    emphasis: Emphasis = ""
    spread: str = ""
    """Standard deviation over seeds."""
    note: str = ""
    """Second line, in html only."""


@dataclass(frozen=True)
class Group:
    """Rows under one heading."""

    title: str
    rows: list[tuple[str, list[Cell]]]
    """Name of the row, and one cell per column of the table."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table: records for the csv file, groups of rows for print."""

    records: pl.DataFrame
    """Content of the csv file."""
    caption: str
    columns: list[str]
    """Headings: one for the names of the rows, then one per cell."""
    groups: list[Group]
    notes: list[str] = field(default_factory=list)


def emphasise(values: Sequence[str]) -> list[Emphasis]:
    """Best and second best of printed values; larger is better, and a single value is neither, nor is an empty one.

    ``values`` are compared as printed, so that values that look equal are marked equally.
    """
    distinct = sorted({float(value) for value in values if value}, reverse=True)
    marks: dict[float, Emphasis] = {}
    if len(values) > 1:
        marks = dict(zip(distinct, ("best", "second"), strict=False))
    return [marks.get(float(value), "") if value else "" for value in values]


def percent(share: float) -> str:
    """A share of the configuration with all its digits: 0.95 is 95%, 0.975 is 97.5%."""
    return f"{100 * share:g}%"


def _tex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


def _tex_cell(cell: Cell) -> str:
    command = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}[cell.emphasis]
    value = command % _tex(cell.value) if cell.value else ""
    return f"{value} {_tex('±')} {_tex(cell.spread)}" if cell.spread else value


def table_tex(table: Table) -> str:
    """The table as a LaTeX float; needs the package booktabs."""
    width = len(table.columns)
    lines = [
        r"% Needs \usepackage{booktabs}.",
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{_tex(table.caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (width - 1)}}}",
        r"\toprule",
        " & ".join(_tex(column) for column in table.columns) + r" \\",
    ]
    for group in table.groups:
        lines += [r"\midrule", rf"\multicolumn{{{width}}}{{l}}{{\emph{{{_tex(group.title)}}}}} \\"]
        lines += [" & ".join([_tex(name), *map(_tex_cell, cells)]) + r" \\" for name, cells in group.rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [rf"\par\smallskip\footnotesize {_tex(' '.join(table.notes))}"] if table.notes else []
    return "\n".join([*lines, r"\end{table}", ""])


def _html_cell(cell: Cell) -> str:
    tag = {"best": "strong", "second": "u", "": ""}[cell.emphasis]
    value = escape(cell.value)
    value = f"<{tag}>{value}</{tag}>" if tag and value else value
    spread = f" ± {escape(cell.spread)}" if cell.spread else ""
    note = f"<br/><small>{escape(cell.note)}</small>" if cell.note else ""
    return f"<td>{value}{spread}{note}</td>"


def table_html(table: Table) -> str:
    """The table and its notes as an html fragment, well-formed as XML; all text is escaped."""
    width = len(table.columns)
    lines = [
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(table.caption)}">',
        f"<table><caption><span>{escape(table.caption)}</span></caption>",
        "<thead><tr>" + "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns) + "</tr></thead>",
    ]
    for group in table.groups:
        lines.append(f'<tbody><tr><th scope="rowgroup" colspan="{width}"><span>{escape(group.title)}</span></th></tr>')
        for name, cells in group.rows:
            lines.append(f'<tr><th scope="row">{escape(name)}</th>{"".join(map(_html_cell, cells))}</tr>')
        lines.append("</tbody>")
    lines.append("</table></div>")
    if table.notes:
        lines += ["<ul>", *(f"<li>{escape(note)}</li>" for note in table.notes), "</ul>"]
    return "\n".join(lines)


def markdown_rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table and a blank one; the first column is left-aligned, the others right-aligned."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines] + [""]


def table_markdown(table: Table) -> str:
    """Caption, notes and one table per group of rows, for the documentation; without emphasis and notes of cells."""
    lines = [f"# {table.caption}", "", *(f"- {note}" for note in table.notes), ""]
    for group in table.groups:
        rows = [
            [name, *(cell.value + (f" ± {cell.spread}" if cell.spread else "") for cell in cells)]
            for name, cells in group.rows
        ]
        lines += [f"## {group.title}", "", *markdown_rows(table.columns, rows)]
    return "\n".join(lines).rstrip() + "\n"


OPENED, CLOSED, END = "<body><main>\n", "\n</main></body>", "</html>\n"
"""The text before and after the table on its page, and its end."""


def _page(table: Table) -> str:
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"/>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>'
        f"<title>{escape(table.caption)}</title><style>{STYLE}</style></head>\n"
        f"{OPENED}{table_html(table)}{CLOSED}{END}"
    )


def fragment(file: Path) -> str:
    """The table and its notes (see ``table_html``) from the page that ``write`` made of them.

    Raises:
        DecorecError: the file is missing or is not such a page.
    """
    head, opened, rest = read_text(file).partition(OPENED)
    found, closed, end = rest.rpartition(CLOSED)
    if not (head.startswith("<!DOCTYPE html>") and opened and found and closed and end == END):
        raise DecorecError(
            f"{file}: expected a table's page, from <!DOCTYPE html> to </html>, found another file, or one that was "
            "cut off; delete it and run the step of the table again"
        )
    return found


def write(table: Table, csv: Path, tex: Path, html: Path, md: Path) -> None:
    """Write the four files; equal tables give equal bytes (csv: floats with six decimals, missing values empty)."""
    write_csv(csv, table.records, 6)
    write_text(tex, table_tex(table))
    write_text(html, _page(table))
    write_text(md, table_markdown(table))
