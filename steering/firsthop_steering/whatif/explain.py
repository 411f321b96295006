"""A decision as JSON: every region with its numbers and outcome. Recomputes nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from firsthop_geodata.addresses import special_block
from firsthop_steering.decision.availability import FAMILIES, Availability, reported_status
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.endpoints import addresses
from firsthop_steering.decision.lifetime import Lifetimes
from firsthop_steering.decision.model import Candidate, Decision
from firsthop_steering.decision.topology import Client, Endpoint, Pool
from firsthop_steering.plan.model import Family, Service


def explain(
    steering: Steering,
    service: Service,
    address: IPv4Address | IPv6Address,
    family: Family | None = None,
) -> dict[str, Any]:
    """Explains how DNS and the allocator answer a client of `service`.

    `family` is that of the addresses it asks for; None: its own. It matters if the service steers
    families separately and not all regions have both; else `family` is null in the result. `answer`
    has the addresses of both, and `by_family` the region of each.

    Times are in milliseconds, distances in kilometres. `media` explains the choice of the
    transceiver region; it is null if no relay region is chosen or no transceiver region exists.
    """
    client = steering.topology.client(address)
    whole, steering = steering, steering.of(service, family or client.address_family)
    decision = steering.decide(service, client)
    pool = service.answer_pool
    media: dict[str, Any] | None = None
    if pool == "relays" and decision.site is not None and steering.topology.pools["media"]:
        regions = [site.id for site in steering.topology.pools["relays"]]
        chosen = steering.decide_media(service, client, regions.index(decision.site.id))
        media = _decision(steering, chosen, "media", None)
    return {
        "service": service.id,
        "name": service.name,
        "client": {
            **_client(steering, client, address),
            "as_subnet": _as_subnet(decision, address),
        },
        "plan": decision.plan,
        "status": decision.status,
        "view": _view(steering, service),
        "family": steering.family,
        "bucket": decision.bucket,
        **_decision(steering, decision, pool, client.cell),
        **_answers(whole, steering, decision, pool),
        "media": media,
    }


def _view(steering: Steering, service: Service) -> str:
    """Which verdicts on relays take precedence."""
    if service.view == "global":
        return "global"
    if steering.vantage is None:
        return "global, as no place of an edge was named"
    return f"local: that of {steering.vantage}, then that of all"


def _client(
    steering: Steering, client: Client, address: IPv4Address | IPv6Address
) -> dict[str, Any]:
    geo = steering.topology.geo
    located = client.cell is not None
    return {
        "address": str(address),
        "located": located,
        "latitude": float(geo.latitudes[client.cell]) if located else None,
        "longitude": float(geo.longitudes[client.cell]) if located else None,
        "country": client.country or None,
        "continent": client.continent or None,
        "asn": client.asn or None,
    }


def _as_subnet(decision: Decision, address: IPv4Address | IPv6Address) -> str | None:
    """How DNS treats an ECS subnet of this client, if it differs from this decision; else None."""
    block = special_block(address)
    if not decision.service.ecs:
        return "DNS answers by the resolver's address: ECS is off for the service"
    if block is None or decision.client.cell is not None or decision.ranking.rule is not None:
        return None
    return (
        f"DNS answers by the resolver's address: {block} is special-purpose space, which neither "
        "the geo data nor an override locates (RFC 7871 §10)"
    )


def _decision(
    steering: Steering, decision: Decision, pool: Pool, cell: int | None
) -> dict[str, Any]:
    rule = decision.ranking.rule
    return {
        "region": decision.site.id if decision.site else None,
        "outcome": decision.ranking.outcome,
        "reason": decision.reason,
        "override": {"id": rule.id, "mode": rule.mode} if rule else None,
        "candidates": [
            _candidate(steering, decision, each, pool, cell)
            for each in (*decision.preferences, *_ineligible(decision))
        ],
    }


def _ineligible(decision: Decision) -> tuple[Candidate, ...]:
    return decision.ranking.candidates[decision.ranking.eligible :]


def _candidate(
    steering: Steering, decision: Decision, each: Candidate, pool: Pool, cell: int | None
) -> dict[str, Any]:
    site = each.site
    index = next(i for i, other in enumerate(steering.topology.pools[pool]) if other is site)
    availabilities = steering.candidates_up(decision.service, pool).availabilities
    distance = None if cell is None else round(steering.topology.distance_km(pool, index, cell), 1)
    return {
        "region": site.id,
        "fate": decision.fate(each),
        "rtt_ms": each.rtt_ms,
        "rtt_source": each.rtt_source,
        "distance_km": distance,
        "bias_ms": site.bias_us / 1000,
        "price_ms": each.price_us / 1000,
        "charged_ms": decision.charged_ms(each),
        "score_ms": decision.score_ms(each),
        "weight": site.weight,
        "weight_now": each.weight,
        "state": site.state,
        "endpoints_up": each.up,
        "endpoints": {
            endpoint.id: _endpoint_text(steering, endpoint, availabilities[endpoint.id])
            for endpoint in site.endpoints
        },
    }


def _endpoint_text(steering: Steering, endpoint: Endpoint, availability: Availability) -> str:
    """An endpoint's effective health, its source, and the measured verdict if that differs."""
    reported = reported_status(endpoint, steering.status)
    if endpoint.probe is None and reported.verdict == "unknown":
        return "not probed"
    parts: list[str] = [availability.verdict]
    parts += [f"{family} {verdict}" for family, verdict in sorted(availability.families.items())]
    if availability.source == "operator" and endpoint.forced is not None:
        until = endpoint.forced.until
        parts += [f"forced until {until:%Y-%m-%d %H:%M:%S} UTC" if until else "forced"]
        parts += [f"measured {reported.verdict}"]
    elif reported.crashed:
        parts += ["crashed, as its agent says", f"measured {reported.verdict}"]
    elif reported.stops_at is not None:
        parts += [f"goes down at {reported.stops_at:%H:%M:%S} UTC"]
    elif reported.draining:
        parts += ["draining"]
    if availability.source == "local":
        since = f" since {availability.since:%H:%M:%S} UTC" if availability.since else ""
        parts += [f"seen from {steering.vantage}{since}", f"from all {reported.verdict}"]
    if availability.share < 100 and availability.verdict != "down":
        parts += [f"starting with {availability.share} % of its weight"]
    return ", ".join(parts)


def _answers(whole: Steering, steering: Steering, decision: Decision, pool: Pool) -> dict[str, Any]:
    """The DNS answer with the addresses of both families, and the region of each family."""
    answer: dict[str, Any] = _answer(steering, decision, pool)
    regions = {}
    for family in FAMILIES:
        other = whole.of(decision.service, family)
        found = other.decide(decision.service, decision.client)
        regions[family] = found.site.id if found.site else None
        if other is not steering:
            answer[family] = _answer(other, found, pool)[family]
    return {"answer": answer, "by_family": regions}


def _answer(steering: Steering, decision: Decision, pool: Pool) -> dict[str, list[str] | int]:
    """The DNS answer: endpoint ids, A and AAAA addresses, and the TTL in seconds."""
    service, outcome = decision.service, decision.ranking.outcome
    ttl = Lifetimes(steering, service, pool).ttl(decision.site)
    if decision.site is None:
        spare = service.fallback if outcome == "fallback" else ()
        return {
            "endpoints": [],
            "ipv4": [str(each) for each in spare if each.version == 4],
            "ipv6": [str(each) for each in spare if each.version == 6],
            "ttl": ttl,
        }
    index = steering.topology.pools[pool].index(decision.site)
    usable = steering.usable(service, pool, index, ignore_health=outcome == "open")
    named, ipv4, ipv6 = addresses(usable, decision.bucket, service.answers)
    return {
        "endpoints": [each.id for each in named],
        "ipv4": [str(each) for each in ipv4],
        "ipv6": [str(each) for each in ipv6],
        "ttl": ttl,
    }
