"""Options whose values are ids in a plan."""

from __future__ import annotations

import typer
from pydantic import TypeAdapter, ValidationError

from firsthop_steering.plan.model import Slug

_SLUG = TypeAdapter(Slug)


def slug(value: str) -> str:
    """Returns a valid id unchanged. Raises typer.BadParameter for other text."""
    try:
        return str(_SLUG.validate_python(value))
    except ValidationError:
        rule = "must be 1 to 63 lower-case letters, digits and inner hyphens"
        raise typer.BadParameter(f"{value!r} {rule}") from None


def optional_slug(value: str | None) -> str | None:
    """Like `slug`, for an optional id: an empty variable counts as unset."""
    return slug(value) if value else None
