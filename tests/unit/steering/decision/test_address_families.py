"""Each address family is steered by itself, or both together, and what that costs whom."""

from __future__ import annotations

from typing import Any

import pytest

from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.table import Answer, AnswerTable
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import Topology, parse_client
from firsthop_steering.feed.snapshot import RelayStatus, Status
from firsthop_steering.plan.document import load_yaml, warnings_in
from firsthop_steering.whatif.explain import explain
from firsthop_steering.whatif.simulate import simulate
from support.worlds import NOW, europe_and_america, folder, key_of, plan_of, status_of

BERLIN, NEW_YORK = parse_client("10.1.1.1"), parse_client("20.1.1.1")
REGIONS = [
    {"id": "fra", "latitude": 50.11, "longitude": 8.68},
    {"id": "iad", "latitude": 39.04, "longitude": -77.49},
]
RELAYS = [
    {"id": "fra-1", "region": "fra", "ipv4": "192.0.2.10"},
    {"id": "iad-1", "region": "iad", "ipv4": "198.51.100.10", "ipv6": "2001:db8:1::10"},
]
NAME = "s.edge.example."


def world(
    status: Status | None = None, *, overrides: Any = (), relays: Any = RELAYS, **service: Any
) -> Steering:
    """fra has IPv4 only, iad both: the other way round from where most clients would like it."""
    service = {"id": "s", "name": NAME, **service}
    document = {"regions": REGIONS, "relays": relays, "services": [service]}
    plan = plan_of({**document, "overrides": list(overrides)})
    return Steering(Topology(plan, europe_and_america()), status or status_of(), NOW)


def answers(steering: Steering, client: Any = BERLIN) -> tuple[Answer, Answer]:
    """The answers to A and AAAA, of the compiled table, which explain confirms."""
    path = folder() / "families.table"
    compile_table(steering, path)
    table = AnswerTable.open(path).services[0]
    key = key_of(client)
    a, aaaa = table.answers[table.settle(*key)], table.aaaa.answers[table.aaaa.settle(*key)]
    said = explain(steering, steering.topology.services["s"], client)
    assert said["answer"]["ipv4"] == [str(each) for each in a.ipv4]
    assert said["answer"]["ipv6"] == [str(each) for each in aaaa.ipv6]
    return a, aaaa


def test_an_ipv6_client_gets_the_nearest_region_that_has_ipv6() -> None:
    """Not the NODATA of the nearest, which resolvers would keep for everybody."""
    a, aaaa = answers(world())
    assert (a.region, aaaa.region) == ("fra", "iad")
    assert [str(each) for each in aaaa.ipv6] == ["2001:db8:1::10"]
    assert [each.region for each in answers(world(), NEW_YORK)] == ["iad", "iad"]


def test_together_both_are_of_the_nearest_region() -> None:
    a, aaaa = answers(world(families="together"))
    assert (a.region, aaaa.region, aaaa.ipv6) == ("fra", "fra", ())


def test_regions_alike_share_one_table() -> None:
    """Nothing is compiled twice for most fleets, whatever the setting."""
    both = [each | {"ipv6": f"2001:db8::{n}"} for n, each in enumerate(RELAYS)]
    for relays in (both, [each | {"ipv6": None} for each in RELAYS]):
        steering = world(relays=relays)
        assert not steering.separates(steering.topology.services["s"])


def test_a_family_that_is_down_in_a_region_is_answered_from_the_next() -> None:
    both = [each | {"ipv6": f"2001:db8::{n}"} for n, each in enumerate(RELAYS, start=1)]
    down = {"verdict": "up", "families": {"ipv4": "up", "ipv6": "down"}}
    status = Status(
        number=1,
        lineage="test",
        created_at=NOW,
        relays={"fra-1": RelayStatus.model_validate(down)},
    )
    a, aaaa = answers(world(status, relays=both))
    assert (a.region, aaaa.region) == ("fra", "iad")


def test_a_family_of_which_nothing_is_up_is_not_answered_while_the_other_is() -> None:
    """A dead address would keep clients with both families from the living one."""
    a, aaaa = answers(world(status_of(iad_1="down")))
    assert (a.region, aaaa.region, aaaa.ipv6) == ("fra", "", ())
    a, aaaa = answers(world(status_of(iad_1="down", fra_1="down")))
    assert (a.outcome, aaaa.outcome, aaaa.region) == ("open", "open", "iad")


def test_an_override_that_allows_only_regions_without_it_leaves_a_family_out() -> None:
    """Residency comes first; apply warns of what caches make of that."""
    only = {"id": "de", "country": "DE", "mode": "only", "regions": ["fra"]}
    a, aaaa = answers(world(overrides=[only]))
    assert (a.region, aaaa.region) == ("fra", "")


@pytest.mark.parametrize(("setting", "rule"), [("separate", "farther"), ("together", "near the")])
def test_apply_warns_when_regions_differ(setting: str, rule: str) -> None:
    document = load_yaml(
        f"""
regions: [{{id: fra, latitude: 50, longitude: 8}}, {{id: iad, latitude: 39, longitude: -77}}]
relays:
  - {{id: fra-1, region: fra, ipv4: 192.0.2.10}}
  - {{id: iad-1, region: iad, ipv4: 198.51.100.10, ipv6: "2001:db8:1::10"}}
overrides: [{{id: de, country: DE, mode: only, regions: [fra]}}]
zones: [{{apex: z., primary: ns.x., contact: h.x., name_servers: [ns.x.]}}]
services:
  - {{id: relay, name: relay.z., families: {setting}}}
  - {{id: america, name: america.z., regions: [iad]}}
"""
    )
    warnings = {each.field: each.rule for each in warnings_in(document)}
    assert set(warnings) == {"services/relay/families", "overrides/de/regions"}
    assert "fra without IPv6" in warnings["services/relay/families"]
    assert rule in warnings["services/relay/families"]


def test_simulate_names_the_price_of_both_settings() -> None:
    """Of three located places two are nearer to fra (Berlin) or iad; Berlin's goes far by IPv6."""
    for setting in ("separate", "together"):
        side = world(families=setting)
        costs = simulate(side, side, NAME).families
        assert costs is not None
        assert costs.setting == setting
        assert 0 < costs.farther_ipv6 == costs.without_ipv6 < 1
        assert costs.farther_ipv6_ms is not None
        assert costs.farther_ipv6_ms > 50
        assert [each.country for each in costs.without_ipv6_countries] == ["DE"]
        assert costs.without_ipv4 == 0
    both = [each | {"ipv6": f"2001:db8::{n}"} for n, each in enumerate(RELAYS)]
    alike = world(relays=both)
    assert simulate(alike, alike, NAME).families is None


def test_simulate_counts_clients_of_each_family_by_its_own_answer() -> None:
    """The change of the setting takes IPv6 away near fra, and moves nobody by IPv4."""
    found = simulate(world(), world(families="together"), NAME)
    assert found.moved == 0
    six = [parse_client(f"2001:db8:{n}::1") for n in range(3)]
    listed = simulate(world(), world(families="together"), NAME, six)
    assert listed.clients == 3
