"""The differences between two documents, object by object, for audit, diffs and messages."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from firsthop_controlplane.errors import BrokenRule
from firsthop_controlplane.store.configuration import COLLECTIONS, ZONES
from firsthop_steering.plan.document import Document
from firsthop_zones.model import Model

Action = Literal["created", "changed", "deleted"]
Values = dict[str, Any]
RDATA_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Difference:
    """An object that differs; `before` and `after` are its JSON, None if it does not exist."""

    object: str
    before: Values | None
    after: Values | None

    @property
    def action(self) -> Action:
        if self.before is None:
            return "created"
        return "deleted" if self.after is None else "changed"

    def fields(self) -> list[str]:
        """The names of the fields that differ."""
        before, after = self.before or {}, self.after or {}
        return [name for name in after if before.get(name) != after[name]]

    def __str__(self) -> str:
        if self.action == "changed":
            return f"{self.object}: {', '.join(self.fields())} changed"
        return f"{self.object} {self.action}"


def differences(before: Document, after: Document) -> tuple[Difference, ...]:
    """Every object that differs, collections in the document's order, objects by name."""
    found = []
    for old, new in zip(_objects(before), _objects(after), strict=True):
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                found.append(Difference(name, _json(old.get(name)), _json(new.get(name))))
    return tuple(found)


def _objects(document: Document) -> Iterator[Mapping[str, Model]]:
    for collection in COLLECTIONS:
        values = getattr(document, collection.name)
        if collection is ZONES:
            values = [zone.model_copy(update={"records": ()}) for zone in values]
        yield {f"{collection.name}/{collection.identity(each)}": each for each in values}
    yield {
        f"zones/{zone.apex}/records/{record.owner}/{record.type}/{_short(record.rdata)}": record
        for zone in document.zones
        for record in zone.records
    }


def _short(rdata: str) -> str:
    """Long data shortened to its beginning and a digest: names are indexed, and displayed."""
    if len(rdata) <= RDATA_SHOWN:
        return rdata
    return f"{rdata[:RDATA_SHOWN]}…{hashlib.sha256(rdata.encode()).hexdigest()[:16]}"


def _json(value: Model | None) -> Values | None:
    if value is None:
        return None
    return value.model_dump(mode="json", exclude={"records"})


def repeated_records(document: Document) -> Iterator[BrokenRule]:
    """Broken rules: records that occur twice, in any notation; an RRset is a set (RFC 2181 §5)."""
    for zone in document.zones:
        times = Counter((record.owner, record.parsed) for record in zone.records)
        if len(times) == len(zone.records):
            continue
        for record in zone.records:
            if times.pop((record.owner, record.parsed), 1) > 1:
                yield BrokenRule(
                    f"zones/{zone.apex}/records/{record.owner}/{record.type}",
                    f"an RRset is a set (RFC 2181 §5): {record.rdata} occurs more than once",
                )


def summary(changes: tuple[Difference, ...]) -> str:
    """The message of a revision if its author gave none."""
    shown = "; ".join(str(change) for change in changes[:3])
    return f"{shown}; and {len(changes) - 3} more" if len(changes) > 3 else shown
