"""Enters transceivers that register themselves into the configuration."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from firsthop_controlplane.configuration import wire_ids
from firsthop_controlplane.errors import BrokenRule, Refused, conflict, invalid
from firsthop_controlplane.store.configuration import TRANSCEIVER_REGIONS, TRANSCEIVERS
from firsthop_controlplane.store.tables import TransceiverRegionRow, TransceiverRow
from firsthop_steering.plan.model import Transceiver, TransceiverRegion
from firsthop_steering.plan.registration import MAX_REGISTERED, Registration, entered, problems_of
from firsthop_zones.faults import DocumentFault


async def enter(session: AsyncSession, name: str, given: Registration) -> TransceiverRow:
    """Create or change the row of transceiver `name`; raises Refused.

    A transceiver that was removed earlier gets its previous wire id.
    """
    region_row = await session.get(TransceiverRegionRow, given.region)
    if region_row is None:
        raise no_region(given.region)
    region = TRANSCEIVER_REGIONS.read(region_row)
    row = await session.get(TransceiverRow, name)
    present = None if row is None else TRANSCEIVERS.read(row)
    assert isinstance(region, TransceiverRegion)
    assert present is None or isinstance(present, Transceiver)
    refuse(problems_of(given, region, present), present)
    value = entered(name, given, present)
    if row is None:
        registered = select(func.count()).where(
            TransceiverRow.region == region.id, TransceiverRow.registered
        )
        check_room(region.id, await session.scalar(registered) or 0)
        if value.wire_id is None:
            known = await wire_ids.had(session, name)
            value = value.model_copy(update={"wire_id": known})
        row = TransceiverRow(**TRANSCEIVERS.values(value))
        session.add(row)
    else:
        TRANSCEIVERS.write(row, value)
    return row


def check_room(region: str, registered: int) -> None:
    """Raises Refused (409) if a region has the maximum number of registered transceivers."""
    if registered >= MAX_REGISTERED:
        rule = f"{region} has the maximum of {MAX_REGISTERED} registered transceivers"
        raise conflict(f"there is no room: {rule}", [BrokenRule("region", rule)])


def no_region(name: str) -> Refused:
    """422: the region of the token is not configured."""
    return invalid([BrokenRule("region", f"names no transceiver region: {name}")])


def refuse(problems: Iterable[DocumentFault], present: Transceiver | None) -> None:
    """Raises Refused if there are problems: 409 if they conflict with `present`, otherwise 422."""
    faults = [BrokenRule(each.field, each.rule) for each in problems]
    if not faults:
        return
    if faults[0].field == "id":
        raise conflict("a transceiver of another region has this id", faults)
    if present is not None and not present.registered:
        raise conflict("operators configured this transceiver otherwise", faults)
    raise invalid(faults)
