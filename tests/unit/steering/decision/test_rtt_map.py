"""What round trip is expected of whom: learned prefixes, countries, the prior, and borders."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from pydantic import ValidationError

from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.table import AnswerTable
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.model import Candidate
from firsthop_steering.decision.rtt_map import RttMap
from firsthop_steering.decision.topology import Topology, parse_client
from firsthop_steering.feed.snapshot import Latency
from firsthop_steering.rtt.prior import spread_ms
from firsthop_steering.whatif.explain import explain
from support.worlds import NOW, europe_and_america, folder, key_of, plan_of, status_of

REGIONS = [
    {"id": "fra", "latitude": 50.1, "longitude": 8.7},
    {"id": "iad", "latitude": 39.0, "longitude": -77.5},
    {"id": "gru", "latitude": -23.5, "longitude": -46.6},
]
BERLIN, NEW_YORK, NOWHERE, MUMBAI = "10.1.1.1", "20.1.1.1", "99.1.1.1", "2400:1:2::9"


def latency_of(**fields: Any) -> Latency:
    """What is learned of Frankfurt and Washington; their bases are 1 and 2 ms, 0.01 ms a km."""
    known = {"regions": ("fra", "iad"), "base_ms": (1.0, 2.0), "ms_per_km": 0.01} | fields
    return Latency(number=9, lineage="test", created_at=NOW, **known)


def world(latency: Latency | None) -> Steering:
    plan = plan_of(
        {
            "regions": REGIONS,
            "relays": [
                {"id": f"{each['id']}-1", "region": each["id"], "ipv4": f"192.0.2.{number}"}
                for number, each in enumerate(REGIONS)
            ],
            "services": [{"id": "s", "name": "s.edge.example."}],
        }
    )
    topology = Topology(plan, europe_and_america())
    return Steering(topology, status_of(), NOW, rtt=RttMap(topology, latency))


def seen(steering: Steering, client: str) -> dict[str, Candidate]:
    decision = steering.decide(
        steering.topology.services["s"], steering.topology.client(parse_client(client))
    )
    return {each.site.id: each for each in decision.ranking.candidates}


def test_what_is_not_learned_has_the_geographic_prior() -> None:
    """Gru is not named, so nothing changes there; the others have their fitted prior."""
    plain, told = seen(world(None), BERLIN), seen(world(latency_of()), BERLIN)
    steering = world(None)
    km = steering.topology.distance_km("relays", 0, 0)
    assert told["gru"].rtt_ms == plain["gru"].rtt_ms
    assert told["fra"].rtt_ms == pytest.approx(1 + 0.01 * km, abs=0.001)
    assert {each.rtt_source for each in told.values()} == {"prior"}


def test_a_country_deviates_by_spreads_of_the_path() -> None:
    """Its deviation counts in what a path of that length may scatter, times the scale."""
    base = seen(world(latency_of()), BERLIN)["fra"].rtt_ms
    told = seen(world(latency_of(countries={"DE": (2.0, -1.0)}, scale=0.5)), BERLIN)
    assert told["fra"].rtt_ms == pytest.approx(base + spread_ms(base) * 0.5 * 2, abs=0.01)
    assert {id_: each.rtt_source for id_, each in told.items()} == {
        "fra": "country", "iad": "country", "gru": "prior",
    }  # fmt: skip
    elsewhere = seen(world(latency_of(countries={"DE": (2.0, -1.0)})), NEW_YORK)
    assert elsewhere["fra"].rtt_source == "prior"


@pytest.mark.parametrize(
    ("client", "prefix"),
    [(BERLIN, "10.1.1.0/24"), (MUMBAI, "2400:1:2::/48"), (NOWHERE, "99.1.1.0/24")],
)
def test_a_prefix_has_its_own_row_and_nobody_beside_it(client: str, prefix: str) -> None:
    """Where the row has no number it is as without; the next prefixes are as before."""
    steering = world(latency_of(prefixes={prefix: (3000, None), "44.0.0.0/24": (1, 1)}))
    plain, told = seen(world(latency_of()), client), seen(steering, client)
    assert (told["fra"].rtt_ms, told["fra"].rtt_source) == (300.0, "prefix")
    assert told["iad"] == plain["iad"]
    address = ip_address(client)
    size = 256 if address.version == 4 else 1 << 80
    for beside in (address + size, address - size):
        assert seen(steering, str(beside))["fra"].rtt_source != "prefix"


def test_an_unlocated_client_has_the_mean_of_all_cells() -> None:
    """Of what is learned of them, so that it goes where it is nearest to everybody."""
    steering = world(latency_of(countries={"BR": (50.0, 0.0)}))
    rtt = steering.rtt.rtt_us("relays")
    assert rtt[:, 4].tolist() == pytest.approx(rtt[:, :4].mean(axis=1), abs=1)
    assert seen(steering, NOWHERE)["fra"].rtt_source == "unlocated"


def test_a_measured_prefix_moves_and_its_subnet_scope_is_its_own() -> None:
    """Berlin's 10.1.1.0/24 is nearer to Washington; resolvers keep that for this /24 alone."""
    steering = world(latency_of(prefixes={"10.1.1.0/24": (900, 200)}))
    path = folder() / "learned.table"
    compile_table(steering, path)
    table = AnswerTable.open(path).services[0]
    answer, scope = table.lookup(*key_of(ip_address(BERLIN)))
    assert (table.answers[answer].region, scope) == ("iad", 24)
    beside, wide = table.lookup(*key_of(ip_address("10.200.1.1")))
    assert table.answers[beside].region == "fra"
    assert wide < 24
    said = explain(steering, steering.topology.services["s"], ip_address(BERLIN))
    assert (said["region"], said["candidates"][0]["rtt_source"]) == ("iad", "prefix")


def test_private_space_is_not_placed_by_a_round_trip() -> None:
    """A subnet that nobody can locate is answered by its resolver, measured or not."""
    steering = world(latency_of(prefixes={"192.168.7.0/24": (1, 3000)}))
    assert seen(steering, "192.168.7.1")["fra"].rtt_source == "unlocated"


def test_the_last_prefixes_of_both_families_have_rows() -> None:
    """Nothing wraps at the end of the number space."""
    last = {"223.255.255.0/24": (10, 20), "3fff:ffff:ffff::/48": (10, 20)}
    steering = world(latency_of(prefixes=last))
    for client in ("223.255.255.255", "3fff:ffff:ffff:ffff::1"):
        assert seen(steering, client)["fra"].rtt_ms == 1.0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"base_ms": (1.0,)}, "base_ms: must have 2 numbers"),
        ({"regions": ("fra", "fra")}, "regions: each must be named once"),
        ({"countries": {"DE": (1.0,)}}, "countries/DE: must have 2 numbers"),
        ({"prefixes": {"10.0.0.0/24": (1,)}}, "prefixes/10.0.0.0/24: must have 2 numbers"),
        ({"prefixes": {"10.0.0.1/24": (1, 2)}}, "must be an IPv4 /24 or an IPv6 /48"),
        ({"prefixes": {"10.0.0.0/23": (1, 2)}}, "must be an IPv4 /24 or an IPv6 /48"),
        ({"prefixes": {"2400::/47": (1, 2)}}, "must be an IPv4 /24 or an IPv6 /48"),
        ({"prefixes": {"fra": (1, 2)}}, "must be an IPv4 /24 or an IPv6 /48"),
        ({"base_ms": (float("nan"), 1.0)}, "base_ms"),
        ({"scale": float("inf")}, "scale"),
    ],
)
def test_what_does_not_hold_together_is_refused(fields: dict[str, Any], said: str) -> None:
    """With the field named, before any edge steers by it."""
    with pytest.raises(ValidationError, match=said):
        latency_of(**fields)
