"""Validates parsed bodies against models: no type coercion, and work bounded by constants.

Pydantic collects every fault of a value before it raises. So long lists are validated in slices
first, and validation ends with the slice in which the number of faults reaches `MAX_FAULTS`.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from annotated_types import MaxLen
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from firsthop_controlplane.errors import BrokenRule, invalid
from firsthop_zones.faults import MAX_FAULTS, broken_rule, count_rule

SLICE_SIZE = 200
"""Items of a list, keys of the items included, that are validated at once."""
MAX_LISTED = 1_000
"""Faults of one validation that are turned into texts; if there are more, only their number is."""
MAX_NAME = 64
"""Characters of an unknown key that are repeated in an answer."""

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], value: dict[str, Any], prefix: str = "") -> M:
    """The model of a JSON object, without type coercion.

    Raises Refused (422) with at least the first `MAX_FAULTS` faults.
    """
    broken = [*islice(_list_faults(model, value, prefix), MAX_FAULTS)]
    if broken:
        raise invalid(broken)
    try:
        return model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise invalid(faults(error, prefix)) from None


def faults(error: ValidationError, prefix: str = "", *, skipped: int = 0) -> list[BrokenRule]:
    """Pydantic's errors as pairs of field and rule.

    `skipped` is added to the index that each location starts with. `too_short` is omitted if the
    list has invalid items, because pydantic counts only valid ones.
    """
    if error.error_count() > MAX_LISTED:
        return [BrokenRule(prefix or "body", f"has {error.error_count():,} faults")]
    errors = error.errors(include_url=False, include_input=False)
    within = {each["loc"][:depth] for each in errors for depth in range(len(each["loc"]))}
    found = [
        BrokenRule(_path(prefix, each["loc"], skipped), broken_rule(each))
        for each in errors
        if each["type"] != "too_short" or each["loc"] not in within
    ]
    return list(dict.fromkeys(found))


def _path(prefix: str, location: tuple[int | str, ...], skipped: int) -> str:
    """The path of a field; parts of `location` that name a validator are omitted."""
    if skipped and location and isinstance(location[0], int):
        location = (location[0] + skipped, *location[1:])
    fields = [_shown(part) for part in location if not (isinstance(part, str) and "[" in part)]
    return "/".join([prefix, *fields] if prefix else fields) or "body"


def _shown(part: int | str) -> str:
    text = str(part)
    return text if len(text) <= MAX_NAME else text[:MAX_NAME] + "…"


@dataclass(frozen=True, slots=True)
class _Field:
    """A field that holds a model or a list."""

    items: TypeAdapter[Any] | None
    """Validates a slice of the list; None if the field is not a list."""
    model: type[BaseModel] | None
    """The model of the value, or of the list's items."""
    max_length: int | None
    """Largest number of items."""


def _list_faults(
    model: type[BaseModel], value: Mapping[str, Any], path: str
) -> Iterator[BrokenRule]:
    """The faults of all long lists in the value of a model, however deep they are."""
    for name, field in _fields(model).items():
        given, here = value.get(name), f"{path}/{name}" if path else name
        if field.items is None:
            yield from _faults_within(field.model, [(here, given)])
        elif isinstance(given, list):
            if field.max_length is not None and len(given) > field.max_length:
                yield BrokenRule(here, count_rule(name, len(given), field.max_length))
                return
            yield from _faults_within(
                field.model, ((f"{here}/{index}", each) for index, each in enumerate(given))
            )
            if len(given) > SLICE_SIZE:
                yield from _slice_faults(field.items, given, here)


def _faults_within(
    model: type[BaseModel] | None, values: Iterator[tuple[str, Any]] | list[tuple[str, Any]]
) -> Iterator[BrokenRule]:
    if model is not None and _fields(model):
        for path, each in values:
            if isinstance(each, dict):
                yield from _list_faults(model, each, path)


def _slice_faults(items: TypeAdapter[Any], given: list[Any], path: str) -> Iterator[BrokenRule]:
    for start, part in _slices(given):
        try:
            items.validate_json(json.dumps(part), strict=True)
        except ValidationError as error:
            yield from faults(error, path, skipped=start)


def _slices(given: list[Any]) -> Iterator[tuple[int, list[Any]]]:
    """Slices of a list, each with the index of its first item."""
    start = size = 0
    for index, each in enumerate(given):
        size += 1 + (len(each) if isinstance(each, dict | list) else 0)
        if size >= SLICE_SIZE:
            yield start, given[start : index + 1]
            start, size = index + 1, 0
    if start < len(given):
        yield start, given[start:]


@functools.cache
def _fields(model: type[BaseModel]) -> Mapping[str, _Field]:
    """The fields of a model that hold lists, or models in which there are lists."""
    found = {name: _field(info) for name, info in model.model_fields.items()}
    return {
        name: each
        for name, each in found.items()
        if each is not None and (each.items is not None or (each.model and _fields(each.model)))
    }


def _field(info: FieldInfo) -> _Field | None:
    annotation = _required(info.annotation)
    if get_origin(annotation) in (tuple, list):
        item = get_args(annotation)[0]
        longest = next(
            (each.max_length for each in info.metadata if isinstance(each, MaxLen)), None
        )
        return _Field(TypeAdapter(list[item]), _model(item), longest)  # type: ignore[valid-type]
    model = _model(annotation)
    return _Field(None, model, None) if model else None


def _required(annotation: Any) -> Any:
    """The type inside `T | None` and `Annotated[T, …]`."""
    if get_origin(annotation) is Annotated:
        return _required(get_args(annotation)[0])
    others = [each for each in get_args(annotation) if each is not NoneType]
    if NoneType in get_args(annotation) and len(others) == 1:
        return _required(others[0])
    return annotation


def _model(annotation: Any) -> type[BaseModel] | None:
    found = _required(annotation)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None
