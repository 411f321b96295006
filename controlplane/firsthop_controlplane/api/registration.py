"""The endpoint with which transceivers register themselves in the configuration."""

from __future__ import annotations

from aiohttp import web
from sqlalchemy.ext.asyncio import AsyncSession

from firsthop_controlplane.api.operations import Calling, Operation, answer
from firsthop_controlplane.api.resources import slug
from firsthop_controlplane.configuration.registrations import check_room, enter, refuse
from firsthop_controlplane.errors import BrokenRule, TooMany, forbidden, not_found
from firsthop_controlplane.store.configuration import TRANSCEIVERS
from firsthop_controlplane.store.tables import TransceiverRow
from firsthop_steering.plan.model import Transceiver
from firsthop_steering.plan.registration import Registration, entered, problems_of

TRANSCEIVERS_ONLY = frozenset({"transceiver"})


async def _register(calling: Calling) -> web.Response:
    """Register a transceiver; makes a revision if it is new, or its address changed."""
    try:
        name = slug(calling.part("id"))
    except ValueError:
        raise not_found("there is no transceiver of this name") from None
    given, deps = calling.read(Registration), calling.deps
    check_region(calling, given.region)
    known = _unchanged(calling, name, given)
    if known is not None:
        return answer(known)
    assert calling.principal is not None
    wait_s = deps.registering.wait_s(calling.principal.id, deps.now().timestamp())
    if wait_s:
        detail = "this token has made too many registrations"
        raise TooMany(detail, retry_after_s=wait_s)

    async def add(session: AsyncSession) -> TransceiverRow:
        return await enter(session, name, given)

    # Not guarded: operators have configured where transceivers may be, and nobody could confirm.
    outcome = await deps.revisions.change(add, calling.actor, force=True)
    await deps.took_effect()
    is_new = any(each.action == "created" for each in outcome.changes)
    made = TRANSCEIVERS.read(outcome.value)
    return answer(made, status=201 if is_new else 200)


def check_region(calling: Calling, region: str) -> None:
    """Raises Refused (403) if the caller's token is for another region."""
    scope = calling.principal.scope if calling.principal else None
    if scope != region:
        rule = f"this token is for transceiver region {scope}"
        detail = f"region: {rule}"
        raise forbidden(detail, [BrokenRule("region", rule)])


def _unchanged(calling: Calling, name: str, given: Registration) -> Transceiver | None:
    """The transceiver in the plan, if `given` changes nothing: most registrations are restarts.

    This needs no database. Unchanged and refused registrations do not count against the token's
    rate, so that one transceiver with a wrong address does not use up the rate of its region.
    """
    plan = calling.deps.feed.plan
    regions = plan.document.transceiver_regions if plan else ()
    region = next((each for each in regions if each.id == given.region), None)
    if plan is None or region is None:
        return None
    transceivers = plan.document.transceivers
    present = next((each for each in transceivers if each.id == name), None)
    refuse(problems_of(given, region, present), present)
    if present is not None:
        return present if entered(name, given, present) == present else None
    check_room(
        region.id, sum(each.registered and each.region == region.id for each in transceivers)
    )
    return None


OPERATIONS = (
    Operation(
        method="PUT", path="/v1/transceivers/{id}", name="register_transceiver", tag="machines",
        roles=TRANSCEIVERS_ONLY, summary="A transceiver registers its address", call=_register,
        body=Registration, answer=Transceiver, refusals=(404, 409, 422, 429),
    ),
)  # fmt: skip
