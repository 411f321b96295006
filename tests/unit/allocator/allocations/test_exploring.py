"""Who is offered a relay just to learn of it, which, and how often; no sockets."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_allocator.allocations.allocation import (
    ENTROPY_LENGTH,
    Allocation,
    AllocationRequest,
    allocate,
)
from firsthop_allocator.allocations.exploring import CHANCE_LENGTH
from firsthop_allocator.allocations.state import AllocatorState
from firsthop_allocator.http.callers import RequestClient
from firsthop_allocator.http.counts import AllocatorCounters
from firsthop_allocator.http.schema import AllocationAnswer
from firsthop_allocator.measuring.ticket import ENTROPY_LENGTH as TICKET_ENTROPY
from firsthop_allocator.measuring.ticket import NEAREST, RACED, Ticket, ticket
from firsthop_allocator.sessions.session import ENTROPY_LENGTH as SESSION_ENTROPY
from firsthop_allocator.sessions.session import session_attempts
from firsthop_steering.feed.exploration_targets import (
    MAX_SHARE,
    ExplorationTarget,
    ExplorationTargets,
)
from firsthop_steering.feed.snapshot import Latency, Prices, RelayStatus, Status
from firsthop_steering.rtt.exploration import CANDIDATES, MAX_GROUP_SHARE, SHARE
from support.allocator_world import BERLIN, NEW_YORK, NOWHERE, state_of
from support.worlds import NOW, status_of

COUNT = 12
REGIONS: list[dict[str, Any]] = [
    {"id": f"r{n}", "latitude": 50.0, "longitude": 8.0 + 5 * n} for n in range(COUNT)
]
RELAYS: list[dict[str, Any]] = [
    {
        "id": f"r{n}-1", "region": f"r{n}", "ipv4": f"192.0.2.{n + 1}", "tcp_port": 443,
        "capacity": 100,
    }
    for n in range(COUNT)
]  # fmt: skip
TRANSCEIVERS: list[dict[str, Any]] = [
    {
        "id": "eu-t", "region": "eu", "wire_id": 3, "host": "10.0.0.1", "port": 4000,
        "signalling_ipv4": "10.0.0.1", "signalling_port": 8443,
    }
]  # fmt: skip
HERE = "52.5000,13.4000"
"""Berlin, as the geo data has it."""
FAR = {"r8": 30.0, "r9": 10.0, "r10": 5.0}
ALLOCATIONS = 8_000
LOOKS = bytes(ENTROPY_LENGTH)
"""Random octets by which whoever may explore does so."""


def latency(explore: ExplorationTargets, **fields: Any) -> Latency:
    return Latency(number=1, lineage="test", created_at=NOW, explore=explore, **fields)


def promised(share: float = SHARE, rate: float = MAX_GROUP_SHARE, **gains: float) -> Latency:
    """Clients in Berlin may gain so much by regions."""
    target = ExplorationTarget(rate=rate, gain_ms=gains or FAR)
    return latency(ExplorationTargets(share=share, places={HERE: target}))


def world(status: Status | None = None, **fields: Any) -> AllocatorState:
    made: dict[str, Any] = {"regions": REGIONS, "relays": RELAYS, "latency": promised(), **fields}
    return state_of(status, **made)


def told(**relays: dict[str, Any]) -> Status:
    """A status in which these relays (underscores for hyphens) are so, and the others up."""
    known = {each["id"]: {"verdict": "up"} for each in RELAYS}
    for name, fields in relays.items():
        known[name.replace("_", "-")] |= fields
    states = {name: RelayStatus.model_validate(each) for name, each in known.items()}
    return status_of(number=7).model_copy(update={"relays": states})


def offered(
    state: AllocatorState, client: str = BERLIN, entropy: bytes = LOOKS, **fields: Any
) -> Allocation:
    """What `client` gets, who may explore."""
    request = AllocationRequest(
        address=ip_address(client), source="client_ip", **{"may_explore": True, **fields}
    )
    made = allocate(state, request, now=NOW, entropy=entropy)
    assert isinstance(made, Allocation), made
    return made


def test_the_extra_relays_come_last_and_are_named() -> None:
    """Whoever explores gets what it would have got, and promised regions behind that."""
    state = world()
    plain = json.loads(offered(state, may_explore=False).to_json())
    answer = json.loads(offered(state).to_json())
    AllocationAnswer.model_validate(answer)
    assert plain["decision"]["explored"] == []
    assert len(answer["decision"]["explored"]) == CANDIDATES
    count = len(plain["relays"])
    assert answer["relays"][:count] == plain["relays"]
    assert [each["region"] for each in answer["relays"][count:]] == answer["decision"]["explored"]
    assert [each["rank"] for each in answer["relays"]] == [*range(1, count + CANDIDATES + 1)]
    assert answer["transceiver_region"] == plain["transceiver_region"]
    udp = [
        each["candidate"].split() for each in answer["candidates"] if " udp " in each["candidate"]
    ]
    assert [each[4] for each in udp] == [each["ipv4"] for each in answer["relays"]]
    priorities = [int(each[3]) for each in udp]
    assert priorities == sorted(priorities, reverse=True)


def test_of_all_allocations_at_most_the_share_explores() -> None:
    """Whatever the rates come to; and close to it, where there is enough to be explored."""
    state, counts, chance = world(), AllocatorCounters(), random.Random(1)
    for made_so_far in range(ALLOCATIONS):
        client = random.Random(made_so_far).choice([BERLIN, BERLIN, BERLIN, NEW_YORK])
        made = offered(
            state, client, chance.randbytes(ENTROPY_LENGTH), may_explore=counts.allowance.is_left
        )
        whom = RequestClient(ip_address(client), "client_ip")
        counts.granted(made.route, "allocated", whom, state.exploration_share)
        explored = sum(counts.explored.values()) / CANDIDATES
        assert explored <= SHARE * (made_so_far + 1)
    assert explored >= 0.95 * SHARE * ALLOCATIONS
    tries = Counter({region: n for (_, region), n in counts.explored.items()})
    assert [region for region, _ in tries.most_common()] == ["r8", "r9", "r10"]


def test_a_group_explores_at_its_rate() -> None:
    """Where the allowance is no limit."""
    state, chance, count = world(latency=promised(rate=0.05)), random.Random(2), ALLOCATIONS
    looked = sum(
        bool(offered(state, entropy=chance.randbytes(ENTROPY_LENGTH)).route.explored)
        for _ in range(count)
    )
    assert looked / count == pytest.approx(0.05, abs=0.008)


@pytest.mark.parametrize("share", [0.0, SHARE, MAX_SHARE])
def test_nobody_is_allowed_before_the_share_is_earned(share: float) -> None:
    """A process that has just begun explores nothing; a share of 0 earns nothing ever."""
    counts, route = AllocatorCounters(), offered(world(), may_explore=False).route
    whom, waited = RequestClient(ip_address(BERLIN), "client_ip"), 0
    while not counts.allowance.is_left and waited < 1000:
        counts.granted(route, "allocated", whom, share)
        waited += 1
    assert waited == (1000 if not share else pytest.approx(1 / share, abs=1))


@pytest.mark.parametrize(
    "fields",
    [
        {"transceiver_region": "eu"},
        {"exclude_relays": frozenset({"r11-1"})},
        {"client": NEW_YORK},
        {"client": NOWHERE},
        {"may_explore": False},
    ],
)
def test_who_does_not_explore(fields: dict[str, Any]) -> None:
    """Pinned clients, those who have trouble already, and those to whom nothing is promised."""
    assert offered(world(), **fields).route.explored == ()


@pytest.mark.parametrize("mode", ["prefer", "only", "avoid"])
def test_a_client_of_whom_an_override_speaks_is_left_alone(mode: str) -> None:
    """Its operator has said where it goes; others explore as ever."""
    override = {"id": "vip", "cidr": "10.1.0.0/16", "regions": ["r3"], "mode": mode}
    state = world(overrides=[override])
    assert offered(state).route.explored == ()
    assert offered(state, "10.2.1.1").route.explored != ()
    named = made_ticket(state)
    assert {relay.region for relay, _ in named.relays}.isdisjoint({"r8"})


@pytest.mark.parametrize(
    "fields",
    [
        {"verdict": "down"},
        {"draining": True},
        {"crashed": True},
        {"stops_at": (NOW + timedelta(minutes=5)).isoformat()},
        {"share": 50},
        {"load": 0.85},
        {"sessions": 85},
    ],
)
def test_a_relay_that_is_shut_or_full_is_never_explored(fields: dict[str, Any]) -> None:
    """Also where an operator forces it up, and by nobody's ticket."""
    for relays in (RELAYS, [{**each, "forced": {"verdict": "up"}} for each in RELAYS]):
        state = world(told(r8_1=fields), relays=relays)
        for seed in range(50):
            chance = random.Random(seed).randbytes(CHANCE_LENGTH - 4)
            made = offered(state, entropy=LOOKS[: -len(chance)] + chance)
            assert sorted(made.route.explored) == ["r10", "r9"]
            assert made_ticket(state, seed).relays[NEAREST][0].region in {"r9", "r10"}


def test_a_region_that_is_charged_or_not_allowed_is_never_explored() -> None:
    """Nor one whose operator drains or disables it."""
    prices = Prices(number=1, lineage="test", created_at=NOW, now={"r8": 0.5})
    allowed = [each["id"] for each in REGIONS if each["id"] != "r8"]
    shut = [{**each, "state": "draining"} if each["id"] == "r8" else each for each in REGIONS]
    for state in (
        world(prices=prices),
        world(service={"regions": allowed}),
        world(regions=shut),
        world(relays=[{**each, "weight": 0} if each["id"] == "r8-1" else each for each in RELAYS]),
    ):
        assert sorted(offered(state).route.explored) == ["r10", "r9"]


states = st.fixed_dictionaries(
    {
        "verdict": st.sampled_from(["up", "up", "down", "unknown"]),
        "draining": st.sampled_from([False, False, False, True]),
        "share": st.sampled_from([100, 100, 40]),
        "load": st.sampled_from([None, 0.1, 0.84, 0.86]),
        "sessions": st.sampled_from([None, 3, 99]),
    }
)


@given(
    st.lists(states, min_size=COUNT, max_size=COUNT),
    st.dictionaries(
        st.sampled_from([each["id"] for each in REGIONS]),
        st.floats(0.1, 100),
        min_size=1,
        max_size=3,
    ),
    st.binary(min_size=CHANCE_LENGTH - 4, max_size=CHANCE_LENGTH - 4),
)
def test_what_is_explored_is_promised_open_and_new(
    relays: list[dict[str, Any]], gains: dict[str, float], draws: bytes
) -> None:
    """Whatever state relays are in, and whatever is promised and drawn."""
    status = told(**{f"r{n}_1": each for n, each in enumerate(relays)})
    state = world(status, latency=promised(**gains))
    made = offered(state, entropy=LOOKS[: -len(draws)] + draws)
    usual = offered(state, may_explore=False).route.offers
    assert made.route.offers[: len(usual)] == usual
    explored, held = made.route.explored, {each.relay.region for each in usual}
    fit = {f"r{n}" for n, each in enumerate(relays) if is_fit(each)}
    if all(each["verdict"] == "down" or each["draining"] for each in relays):
        fit = set()
    wanted = (gains.keys() & fit) - held
    assert set(explored) <= wanted
    assert len(set(explored)) == len(explored) == min(CANDIDATES, len(wanted))


def is_fit(state: dict[str, Any]) -> bool:
    """The rule once more, of a relay with a capacity of 100."""
    load = (state["sessions"] or 0) / 100 if state["load"] is None else state["load"]
    shut = state["verdict"] == "down" or state["draining"] or state["share"] < 100
    return not shut and load < 0.85


def test_a_measured_prefix_has_its_own_promise_and_no_other() -> None:
    """Where it has none, that of its place is not meant for it: more is known of it."""
    place = ExplorationTarget(rate=MAX_GROUP_SHARE, gain_ms={"r8": 9.0})
    own = ExplorationTarget(rate=MAX_GROUP_SHARE, gain_ms={"r10": 9.0})
    rows = {"10.1.1.0/24": (300,), "10.1.2.0/24": (300,)}
    explore = ExplorationTargets(share=SHARE, places={HERE: place}, prefixes={"10.1.1.0/24": own})
    known = latency(explore, regions=("r0",), base_ms=(4.0,), prefixes=rows)
    state = world(latency=known)
    assert offered(state, "10.1.1.9").route.explored == ("r10",)
    assert offered(state, "10.1.2.9").route.explored == ()
    assert offered(state, "10.1.3.9").route.explored == ("r8",)


def test_sessions_explore_as_allocations_do() -> None:
    """Every transceiver that is asked is asked for the same relays."""
    state = world(transceivers=TRANSCEIVERS)
    request = AllocationRequest(address=ip_address(BERLIN), source="peer", may_explore=True)
    for wanted, count in ((request, CANDIDATES), (replace(request, transceiver_region="eu"), 0)):
        found = session_attempts(state, wanted, now=NOW, entropy=bytes(SESSION_ENTROPY))
        assert isinstance(found, tuple)
        (opening,) = found
        assert len(opening.route.explored) == count
        note = json.loads(opening.note(state))
        assert note["explored"] == [*opening.route.explored]
        assert [each["region"] for each in note["relays"]][3:] == note["explored"]


def made_ticket(state: AllocatorState, seed: int = 0) -> Ticket:
    service = state.tables.default_service
    assert service is not None
    chance = random.Random(seed).randbytes(2)
    entropy = chance + bytes(TICKET_ENTROPY - 2)
    found = ticket(state, service, ip_address(BERLIN), now=NOW, entropy=entropy)
    assert isinstance(found, Ticket), found
    return found


def test_a_ticket_names_a_promised_region_in_place_of_any() -> None:
    """So it has no more relays than before; where nothing is promised it is any, as ever."""
    state = world()
    tickets = [made_ticket(state, seed) for seed in range(60)]
    assert {len(each.relays) for each in tickets} == {RACED}
    others = Counter(each.relays[NEAREST][0].region for each in tickets)
    assert others.keys() <= FAR.keys()
    assert others.most_common(1)[0][0] == "r8"
    near = promised(r0=9.0, r1=9.0)
    state = world(latency=near)
    usual = Counter(made_ticket(state, seed).relays[NEAREST] for seed in range(60))
    assert len(usual) > 3, "what is promised is measured anyhow"
