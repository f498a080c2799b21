"""What all sections of the configuration share."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

__all__ = ["Section", "explain"]


class Section(BaseModel):
    """A section of the configuration: immutable, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def explain(error: ValidationError, origin: str) -> str:
    """One message for all problems that pydantic found: key, what was found, what is expected."""
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "(top level)"
        if problem["type"] == "extra_forbidden":
            lines.append(f"  {key}: unknown key; remove it or correct its name")
        elif problem["type"] == "missing":
            lines.append(f"  {key}: required key is missing; add it")
        else:
            found = problem["input"]
            shown = repr(found) if len(repr(found)) < 80 else repr(found)[:77] + "..."
            lines.append(f"  {key}: {problem['msg']}, found {shown}")
    return f"{origin}: {len(lines)} problem{'s' if len(lines) > 1 else ''}\n" + "\n".join(lines)
