"""Pagination of lists: a page has `limit` items and starts after the id in `cursor`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from pydantic import BaseModel, Field
from sqlalchemy import Select
from sqlalchemy.orm import InstrumentedAttribute

from firsthop_controlplane.api.operations import QueryParameters, answer_json
from firsthop_controlplane.errors import malformed

DEFAULT_LIMIT = 1000
_CURSOR = re.compile(r"[!-~]{1,254}")
_NUMBER = re.compile(r"\d{1,18}")


class Page(QueryParameters):
    """Query parameters of a list."""

    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=10_000)
    cursor: str | None = Field(default=None, max_length=254)
    """`next_cursor` of the previous page."""


def after_name(query: Select[Any], column: InstrumentedAttribute[str], page: Page) -> Select[Any]:
    """Sort by a text column, after the cursor; one row more than a page, to detect the end."""
    if page.cursor is not None:
        if not _CURSOR.fullmatch(page.cursor):
            raise malformed("cursor: use the next_cursor of the last page.")
        query = query.where(column > page.cursor)
    return query.order_by(column).limit(page.limit + 1)


def before_number(
    query: Select[Any], column: InstrumentedAttribute[int], page: Page
) -> Select[Any]:
    """Sort by a number, newest first, after the cursor; one row more than a page."""
    if page.cursor is not None:
        if not _NUMBER.fullmatch(page.cursor):
            raise malformed("cursor: use the next_cursor of the last page.")
        query = query.where(column < int(page.cursor))
    return query.order_by(column.desc()).limit(page.limit + 1)


def page_of(items: Sequence[tuple[str, BaseModel]], page: Page) -> web.Response:
    """The response for pairs of cursor and item, which may be one more than the limit."""
    shown = items[: page.limit]
    more = len(items) > len(shown)
    return answer_json(
        {
            "items": [item.model_dump(mode="json") for _, item in shown],
            "next_cursor": shown[-1][0] if more else None,
        }
    )
