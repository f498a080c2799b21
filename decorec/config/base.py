"""Common parts of all sections of the configuration."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.annotated_handlers import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from decorec.config.meant import keys_at, meant

__all__ = ["Distinct", "Section", "explain", "merge", "problems"]

T = TypeVar("T")


def _each_once(values: list[Any]) -> list[Any]:
    again = list(dict.fromkeys(value for value in values if values.count(value) > 1))
    if again:
        raise ValueError(f"expected each entry once, found {', '.join(map(repr, again))} more than once; remove one")
    return values


Distinct = Annotated[list[T], AfterValidator(_each_once), Field(json_schema_extra={"uniqueItems": True})]
"""A list in which each entry stands once."""


class Section(BaseModel):
    """A section of the configuration: immutable; an unknown key is an error.

    A section within a section changes the default that the outer section declares for it, not the inner section's own
    default: ``{encoder: {dropout: 0.2}}`` keeps all other values of the encoder in the model's definition.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema, with the text below each field as its description.

        Pydantic can take the texts itself, but from the source of every section when the section is imported, which was
        a third of the time that the configuration takes to load, in each process of a run.
        """
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for section in reversed(cls.__mro__):
            if issubclass(section, Section):
                for name, text in _texts(section).items():
                    if name in properties:  # and no constant of the class
                        properties[name]["description"] = text
        return schema

    @model_validator(mode="before")
    @classmethod
    def _inner_defaults(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        for name, field in cls.model_fields.items():
            if isinstance(field.default, Section) and isinstance(filled.get(name), Mapping):
                filled[name] = merge(field.default.model_dump(exclude_unset=True), filled[name])
        return filled


@cache
def _texts(section: type[Section]) -> dict[str, str]:
    """Field -> the text below it, of a section's own fields."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for field, below in pairwise(body.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = inspect.cleandoc(text)
    return texts


def merge(base: Mapping[str, Any], difference: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``difference``; mappings are merged, lists and scalars are replaced."""
    merged = dict(base)
    for key, value in difference.items():
        inner = merged.get(key)
        merged[key] = merge(inner, value) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return merged


def explain(error: ValidationError, origin: str, kind: Any = None) -> str:
    """One message for all problems that pydantic found: key, value found, value expected.

    Args:
        error: what pydantic raised.
        origin: the file, section or flag that is wrong.
        kind: what the values were to be, a section or a choice of sections: a wrong key is told with the nearest one.
    """
    lines = [f"  {line}" for line in problems(error.errors(), kind=kind)]
    return f"{origin}: {len(lines)} problem{'s' if len(lines) > 1 else ''}\n" + "\n".join(lines)


def problems(errors: Iterable[Mapping[str, Any]], skipped: int = 0, kind: Any = None) -> list[str]:
    """Each of pydantic's ``errors`` in one line; the first ``skipped`` parts of its place are left out.

    ``kind`` as for ``explain``.
    """
    lines = []
    for problem in errors:
        key = ".".join(str(part) for part in problem["loc"][skipped:]) or "(top level)"
        if problem["type"] == "extra_forbidden":
            *place, wrong = problem["loc"]
            known = [] if kind is None else keys_at(TypeAdapter(kind).json_schema(), place)
            lines.append(f"{key}: unknown key; {meant(wrong, known) or 'remove it or correct its name'}")
        elif problem["type"] == "missing":
            lines.append(f"{key}: required key is missing; add it")
        elif problem["type"].startswith("union_tag"):  # the value is a whole section, which may have passwords in it
            told = problem["ctx"]
            chooser, tags = told["discriminator"].strip("'"), told.get("expected_tags")
            lines.append(
                f"{key}.{chooser}: required key is missing; add it"
                if tags is None
                else f"{key}.{chooser}: expected one of {tags}, found {told['tag']!r}"
            )
        elif problem["type"] == "value_error":  # ours: it says what was found
            lines.append(f"{key}: {problem['ctx']['error']}")
        else:
            found = problem["input"]
            shown = repr(found) if len(repr(found)) < 80 else repr(found)[:77] + "..."
            lines.append(f"{key}: {problem['msg']}, found {shown}")
    return lines
