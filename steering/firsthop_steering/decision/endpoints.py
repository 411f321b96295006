"""Selects endpoints within a region: in proportion to weight, spread over failure domains."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

from firsthop_steering.decision.rendezvous import BUCKETS, rendezvous_draws
from firsthop_steering.decision.topology import Endpoint

Named = tuple[tuple[Endpoint, ...], tuple[IPv4Address, ...], tuple[IPv6Address, ...]]
"""The endpoints in an answer, their IPv4 addresses, and their IPv6 addresses."""


def choose_endpoints(
    endpoints: Iterable[Endpoint], drawn: int, answers: int
) -> tuple[Endpoint, ...]:
    """Up to `answers` endpoints for the bucket `drawn`, in proportion to their weights.

    If all endpoints fit, all are returned in their given order: every client then gets the same
    answer, which resolvers can share widely. Otherwise those with the lowest rendezvous draws of
    the bucket are returned, distinct failure domains first.
    """
    field = tuple(endpoints)
    if len(field) <= answers:
        return field
    ordered = sorted(
        field, key=lambda each: (rendezvous_draws(each.id, each.weight)[drawn], each.id)
    )
    return domains_apart(ordered)[:answers]


def domains_apart(ordered: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Reorders endpoints: the first of every failure domain precedes the second of any."""
    counts: dict[str, int] = {}
    rounds = []
    for each in ordered:
        counts[each.domain] = counts.get(each.domain, -1) + 1
        rounds.append(counts[each.domain])
    return tuple(
        each for _, each in sorted(zip(rounds, ordered, strict=True), key=lambda pair: pair[0])
    )


def addresses(endpoints: Sequence[Endpoint], drawn: int, answers: int) -> Named:
    """The endpoints of a DNS answer and their addresses, chosen separately for each family."""
    four = choose_endpoints((each for each in endpoints if each.ipv4), drawn, answers)
    six = choose_endpoints((each for each in endpoints if each.ipv6), drawn, answers)
    named = tuple(dict.fromkeys((*four, *six)))
    return (
        named,
        tuple(each.ipv4 for each in four if each.ipv4),
        tuple(each.ipv6 for each in six if each.ipv6),
    )


@lru_cache(maxsize=1024)
def addresses_by_bucket(
    endpoints: tuple[Endpoint, ...], answers: int
) -> tuple[tuple[Named, ...], tuple[int, ...]]:
    """`addresses` for all buckets: the distinct values, and the index of each bucket's value."""
    fits = max(
        sum(each.ipv4 is not None for each in endpoints),
        sum(each.ipv6 is not None for each in endpoints),
    )
    if fits <= answers:
        return (addresses(endpoints, 0, answers),), (0,) * BUCKETS
    distinct: dict[Named, int] = {}
    which = [
        distinct.setdefault(addresses(endpoints, drawn, answers), len(distinct))
        for drawn in range(BUCKETS)
    ]
    return tuple(distinct), tuple(which)
