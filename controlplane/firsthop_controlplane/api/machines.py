"""Endpoints of agents, transceivers and probers. The leader serves them without a database."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from datetime import datetime

from aiohttp import web
from pydantic import Field

from firsthop_controlplane.access.tokens import OPERATORS
from firsthop_controlplane.api.operations import Calling, Operation, QueryParameters, answer
from firsthop_controlplane.api.registration import TRANSCEIVERS_ONLY, check_region
from firsthop_controlplane.deps import Deps
from firsthop_controlplane.errors import (
    BrokenRule,
    Unavailable,
    conflict,
    forbidden,
    invalid,
    not_found,
)
from firsthop_controlplane.health.last_reports import MAX_STOP_AHEAD
from firsthop_ice.turn import probe_credential
from firsthop_ice.ufrag import PROBE_LIFETIME, mint_path_credential
from firsthop_steering.feed.reports import (
    MAX_OFF,
    ProbeReport,
    ProbeTarget,
    ProbeTargets,
    RelayReport,
    Report,
    TransceiverReport,
)
from firsthop_steering.plan.model import Family, Probe, Relay, State

AGENTS = frozenset({"agent"})
PROBERS = frozenset({"prober"})
DNS_PORT = 53
FRESH_CREDENTIALS_S = 60.0
_PROBED = (State.ACTIVE, State.DRAINING)


async def _report(calling: Calling) -> web.Response:
    """Receive an agent's report on its relay."""
    name, deps = calling.part("id"), calling.deps
    assert calling.principal is not None
    if calling.principal.scope != name:
        detail = f"This token is for relay {calling.principal.scope}."
        raise forbidden(detail)
    plan = deps.feed.plan
    if plan is None or all(relay.id != name for relay in plan.document.relays):
        raise not_found(f"there is no relay {name}")
    report, now = calling.read(RelayReport), deps.now()
    _check_times(report, now, deps)
    token = calling.principal.id
    return _taken(deps, deps.health.receive_report(name, report, now, token=token))


async def _transceiver_report(calling: Calling) -> web.Response:
    """Receive a transceiver's report on itself."""
    name, deps = calling.part("id"), calling.deps
    known = deps.feed.plan.document.transceivers if deps.feed.plan else ()
    transceiver = next((each for each in known if each.id == name), None)
    if transceiver is None:
        raise not_found(f"there is no transceiver {name}")
    check_region(calling, transceiver.region)
    assert calling.principal is not None
    report, now, token = calling.read(TransceiverReport), deps.now(), calling.principal.id
    _check_times(report, now, deps)
    return _taken(deps, deps.health.transceivers.reports.receive(name, report, now, token=token))


def _check_times(report: Report, now: datetime, deps: Deps) -> None:
    ahead = (report.sent_at - now).total_seconds()
    if abs(ahead) > deps.settings.clock_skew_s:
        rule = f"is {ahead:+.0f} s off our clock; {deps.settings.clock_skew_s:.0f} s are allowed"
        raise invalid([BrokenRule("sent_at", rule)])
    if report.stops_at is not None and report.stops_at - report.sent_at > MAX_STOP_AHEAD:
        hours = MAX_STOP_AHEAD.total_seconds() / 3600
        rule = f"is too far ahead: at most {hours:.0f} h are allowed"
        raise invalid([BrokenRule("stops_at", rule)])


def _taken(deps: Deps, is_newer: bool) -> web.Response:
    if not is_newer:
        raise conflict("a newer report was received", [BrokenRule("sequence", "is not newer")])
    deps.status_loop.wake()
    return web.Response(status=204)


async def _results(calling: Calling) -> web.Response:
    """Receive the views of one prober, or a part of them, which replace its previous ones."""
    deps, report = calling.deps, calling.read(ProbeReport)
    assert calling.principal is not None
    scope = calling.principal.scope
    if scope is None:  # made by an older release
        raise forbidden(
            "This token names no vantage: create one with the vantage as scope; revoke this one."
        )
    if scope != report.vantage:
        detail = f"This token is for vantage {scope}, not for {report.vantage}."
        raise forbidden(detail, [BrokenRule("vantage", "is not the token's")])
    if abs(report.sent_at - deps.now()) > MAX_OFF:
        rule = f"is more than {MAX_OFF.days} days off our clock"
        raise invalid([BrokenRule("sent_at", rule)])
    if not deps.health.receive_results(report, deps.now(), token=calling.principal.id):
        raise conflict("newer results were received", [BrokenRule("sent_at", "is not newer")])
    deps.status_loop.wake()
    return web.Response(status=204)


class TargetsQuery(QueryParameters):
    """Query parameters of the addresses to check."""

    wait: float = Field(default=0.0, ge=0, le=25)
    """Seconds to wait for a change, if If-None-Match has the present ETag."""


async def _targets(calling: Calling) -> web.Response:
    """The addresses to check now, with fresh credentials; 304 if nothing changed."""
    deps, seen = calling.deps, calling.request.headers.get("If-None-Match", "")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(calling.query.wait):
            while seen and _tag(deps) == seen:
                await deps.status_loop.evaluated.wait()
    tag = _tag(deps)
    if tag == seen:
        return web.Response(status=304, headers={"ETag": tag})
    plan = deps.feed.plan
    if plan is None:
        raise Unavailable("no plan has been read yet")
    targets = []
    for number, relay in enumerate(plan.document.relays, start=1):
        if relay.state in _PROBED:
            targets += [_target(calling, relay, family) for family in relay.families_in_service]
        if number % 100 == 0:
            await asyncio.sleep(0)  # minting for thousands of relays must not delay other tasks
    return answer(ProbeTargets(targets=tuple(targets)), headers={"ETag": tag})


def _tag(deps: Deps) -> str:
    """The ETag of the present targets. It changes whenever probers should read them again, also to
    renew their credentials."""
    plan, keys, health = deps.feed.plan, deps.feed.keys, deps.health
    parts = (
        plan.number if plan else None,
        keys.number if keys else None,
        health.rechecks.count,
        health.started_at.timestamp(),
        int(deps.now().timestamp() // FRESH_CREDENTIALS_S),
    )
    return f'"{hashlib.sha256(repr(parts).encode()).hexdigest()[:24]}"'


def _target(calling: Calling, relay: Relay, family: Family) -> ProbeTarget:
    probe = relay.probe
    ufrag, password = _credential(calling, probe)
    address = relay.ipv4 if family == "ipv4" else relay.ipv6
    assert address is not None  # a probed family has an address
    by_udp = dict.fromkeys(("stun", "path", "turn"), relay.udp_port)
    own = {**by_udp, "dns": DNS_PORT}.get(probe.kind, relay.tcp_port)
    return ProbeTarget(
        relay=relay.id,
        family=family,
        address=address,
        port=probe.port or own or relay.udp_port,
        ufrag=ufrag,
        nudge=calling.deps.health.rechecks.numbers.get(relay.id, 0),
        password=password,
        **probe.model_dump(exclude={"port", "families", "slow_start_s"}),
    )


def _credential(calling: Calling, probe: Probe) -> tuple[str, str] | tuple[None, None]:
    """The ufrag and password to probe with, for the kinds of probe that need them."""
    deps = calling.deps
    if probe.kind not in ("stun", "path", "turn"):
        return None, None
    if deps.feed.keys is None or deps.feed.plan is None:
        raise Unavailable("no credential keys have been read yet")
    if probe.kind == "stun":
        return deps.mint_probe(deps.feed.keys, deps.now())
    if probe.kind == "turn":
        turn = probe_credential(deps.feed.keys, expires_at=deps.now() + PROBE_LIFETIME)
        return turn.username, turn.password
    regions = deps.feed.plan.document.transceiver_regions
    wire_id = next((each.wire_id for each in regions if each.id == probe.transceiver_region), None)
    if wire_id is None:
        return None, None
    holder = calling.principal.id if calling.principal else ""
    made = mint_path_credential(deps.feed.keys, region=wire_id, holder=holder, now=deps.now())
    return made.ufrag, made.password


OPERATIONS = (
    Operation(
        method="POST", path="/v1/relays/{id}/reports", name="report", tag="machines",
        roles=AGENTS, summary="An agent's report on its relay", call=_report, body=RelayReport,
        status=204, refusals=(404, 409, 422, 503), leader_only=True,
    ),
    Operation(
        method="POST", path="/v1/transceivers/{id}/reports", name="transceiver_report",
        tag="machines", roles=TRANSCEIVERS_ONLY, summary="A transceiver's report on itself",
        call=_transceiver_report, body=TransceiverReport, status=204, refusals=(404, 409, 422, 503),
        leader_only=True,
    ),
    Operation(
        method="GET", path="/v1/probes/targets", name="probe_targets", tag="machines",
        roles=PROBERS | OPERATORS, summary="The addresses to check", call=_targets,
        query=TargetsQuery, answer=ProbeTargets, refusals=(503,), leader_only=True,
    ),
    Operation(
        method="POST", path="/v1/probes/results", name="probe_results", tag="machines",
        roles=PROBERS, summary="The views of one prober", call=_results, body=ProbeReport,
        status=204, refusals=(409, 422, 503), leader_only=True,
    ),
)  # fmt: skip
