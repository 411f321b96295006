"""One soak: chaos and clients together, then the rules."""

from __future__ import annotations

from dataclasses import dataclass

from field.world import Field
from soak.chaos import Chaos, targets
from soak.clients import Resolver
from soak.schedule import Fault, schedule
from soak.truth import Findings, Span, judge

CLIENTS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Soaked:
    """What a soak came to."""

    faults: list[Fault]
    spans: list[Span]
    findings: Findings
    broken: dict[str, str]
    """Programs that met a fault of their own, and their words on it."""
    converged_s: float
    """From the end of the last fault until all was as before the first."""


def soak(field: Field, seed: int, seconds: float, *, converge_within_s: float) -> Soaked:
    """Run the schedule of `seed` in a field that is up; AssertionError if it never converges."""
    faults = schedule(seed, targets(field), seconds)
    clients = [Resolver(field.clients, field.edges, seed + n) for n in range(CLIENTS_AT_ONCE)]
    for client in clients:
        client.start()
    chaos = Chaos(field)
    try:
        chaos.run(faults)
        converged_s = field.settle(within=converge_within_s)
    finally:
        for client in clients:
            client.end()
    relay_of = {address: f"relay-{region}" for region, address in field.relays.items()}
    asked = sorted(each for client in clients for each in client.asked)
    findings = judge(asked, chaos.spans, relay_of)
    return Soaked(faults, chaos.spans, findings, field.broken(), converged_s)
