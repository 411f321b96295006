"""Whom an allocator asks for a session, in what order and with which credential; no sockets."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from firsthop_allocator.allocations.allocation import ENTROPY_LENGTH as ALLOCATION_ENTROPY
from firsthop_allocator.allocations.allocation import Allocation, AllocationRequest, allocate
from firsthop_allocator.allocations.route import AllocationRefused
from firsthop_allocator.allocations.state import AllocatorState
from firsthop_allocator.sessions.session import (
    ENTROPY_LENGTH,
    MAX_ATTEMPTS,
    SessionAttempt,
    locate_session,
    renewed,
    session_attempts,
)
from firsthop_ice.session_token import make_token
from firsthop_ice.ufrag import Decoded, decode, mint, region_password_key
from firsthop_steering.feed.snapshot import RelayStatus, Status
from support.allocator_world import BERLIN, KEYS, MEDIA, NEW_YORK, all_down, changed, state_of
from support.worlds import NOW, status_of

ENDS: list[dict[str, Any]] = [
    {
        "id": f"{region}-{n}",
        "region": region,
        "wire_id": wire_id,
        "host": f"10.0.0.{wire_id}",
        "port": 4000,
        "signalling_ipv4": f"10.0.0.{wire_id}",
        "signalling_port": 8082,
    }
    for region, n, wire_id in (("eu", 1, 11), ("eu", 2, 12), ("us", 1, 21))
]


def world(status: Status | None = None, **document: Any) -> AllocatorState:
    return state_of(status, **{"transceivers": ENDS, **document})


def ask(
    state: AllocatorState,
    client: str = BERLIN,
    *,
    seed: int = 0,
    resting: frozenset[str] = frozenset(),
    **fields: Any,
) -> tuple[SessionAttempt, ...] | AllocationRefused:
    request = AllocationRequest(address=ip_address(client), source="client_ip", **fields)
    entropy = seed.to_bytes(2, "big") + bytes(range(ENTROPY_LENGTH - 2))
    return session_attempts(state, request, now=NOW, entropy=entropy, resting=resting)


def asked(*given: Any, **fields: Any) -> tuple[SessionAttempt, ...]:
    made = ask(*given, **fields)
    assert isinstance(made, tuple), made
    return made


def ids(made: tuple[SessionAttempt, ...]) -> list[str]:
    return [each.transceiver.id for each in made]


def test_the_nearest_region_is_asked_first_and_the_next_when_it_is_dead() -> None:
    """Every transceiver of the chosen region before any of the next one."""
    assert [each[:2] for each in ids(asked(world()))] == ["eu", "eu", "us"]
    assert [each[:2] for each in ids(asked(world(), NEW_YORK))] == ["us", "eu", "eu"]


def spoken(**transceivers: dict[str, Any]) -> Status:
    """A status in which these transceivers (hyphens as underscores) say something."""
    known = {
        name.replace("_", "-"): RelayStatus.model_validate({"verdict": "up", "since": NOW, **said})
        for name, said in transceivers.items()
    }
    return status_of().model_copy(update={"transceivers": known})


UNWILLING: list[dict[str, Any]] = [
    {"draining": True},
    {"stops_at": NOW + timedelta(seconds=30)},
    {"verdict": "down"},
]


@pytest.mark.parametrize("said", [*UNWILLING, {"load": 1.0}, {"load": 1.2}])
def test_who_would_take_no_session_is_asked_last(said: dict[str, Any]) -> None:
    """It may have changed its mind meanwhile, so it is asked before nobody."""
    orders = [ids(asked(world(spoken(eu_1=said)), seed=seed)) for seed in range(20)]
    assert all(order == ["eu-2", "us-1", "eu-1"] for order in orders)


@pytest.mark.parametrize("said", UNWILLING)
def test_a_region_whose_transceivers_all_drain_is_not_chosen(said: dict[str, Any]) -> None:
    """Unless that is so everywhere: then what is said is ignored, as it is of relays."""
    assert asked(world(spoken(eu_1=said)))[0].route.transceiver_region == "eu"
    away = world(spoken(eu_1=said, eu_2=said))
    assert {each.route.transceiver_region for each in asked(away)} == {"us"}
    refused = ask(away, transceiver_region="eu")
    assert isinstance(refused, AllocationRefused)
    assert refused.rule == "eu takes no sessions: none of its endpoints is up"
    nowhere = world(spoken(eu_1=said, eu_2=said, us_1=said))
    assert asked(nowhere)[0].route.transceiver_region == "eu"


def region(status: Status, client: str = BERLIN, **document: Any) -> str:
    made = allocate(
        world(status, **document),
        AllocationRequest(address=ip_address(client), source="client_ip"),
        now=NOW,
        entropy=bytes(ALLOCATION_ENTROPY),
    )
    assert isinstance(made, Allocation)
    return made.route.transceiver_region


def test_a_full_region_comes_after_all_others() -> None:
    """Full is every transceiver that is up; one that does not say what it carries has room."""
    full, room, silent = {"load": 1.0}, {"load": 0.99}, {"sessions": 1000}
    assert region(spoken(eu_1=full, eu_2=room)) == "eu"
    assert region(spoken(eu_1=full, eu_2=silent)) == "eu"
    assert region(spoken(eu_1=full)) == "eu"
    assert region(spoken(eu_1=full, eu_2=full)) == "us"
    assert region(spoken(eu_1=full, eu_2={"draining": True, "load": 0.1})) == "us"
    assert region(spoken(eu_1=full, eu_2=full, us_1=full)) == "eu", "all are full: the nearest"


def test_a_region_is_full_at_what_operators_say_as_well() -> None:
    small = changed(MEDIA, eu={"capacity": 30})
    carries = {"sessions": 15}
    assert region(spoken(eu_1=carries, eu_2={"sessions": 14}), transceiver_regions=small) == "eu"
    assert region(spoken(eu_1=carries, eu_2=carries), transceiver_regions=small) == "us"


def test_a_full_region_is_after_those_that_an_override_would_not_prefer() -> None:
    rule = {"id": "o", "country": "DE", "mode": "prefer", "regions": ["eu"]}
    full = {"load": 1.0}
    assert region(spoken(eu_1=full, eu_2=full), overrides=[rule]) == "us"


def test_every_credential_names_whom_it_is_for() -> None:
    """Region and transceiver in the ufrag, no two alike, and tokens that lead back."""
    state = world()
    made = asked(state)
    assert len({each.credential.ufrag for each in made}) == len(made)
    for each in made:
        decoded = decode(each.credential.ufrag, KEYS.routes, now=NOW)
        assert isinstance(decoded, Decoded)
        wire_id = {"eu": 7, "us": 300}[each.route.transceiver_region]
        assert (decoded.region, decoded.transceiver) == (wire_id, each.transceiver.wire_id)
        found = locate_session(state, each.token)
        assert found is not None
        assert found.transceiver == each.transceiver
        assert found.password_key == each.password_key


def test_sessions_spread_over_a_region_by_weight() -> None:
    """Each draws anew; a weight of 0 and what does not take sessions are never asked."""
    even = world()
    firsts = Counter(ids(asked(even, seed=seed))[0] for seed in range(400))
    assert 120 < firsts["eu-1"] < 280
    light = world(transceivers=changed(ENDS, eu_1={"weight": 10}))
    firsts = Counter(ids(asked(light, seed=seed))[0] for seed in range(400))
    assert 5 < firsts["eu-1"] < 80
    for change in (
        {"weight": 0},
        {"state": "draining"},
        {"state": "disabled"},
        {"signalling_port": None},
        {"wire_id": None},
    ):
        state = world(transceivers=changed(ENDS, eu_1=change))
        assert ids(asked(state)) == ["eu-2", "us-1"], change


def test_those_that_did_not_answer_lately_are_asked_last() -> None:
    """Even when another region then comes first."""
    assert ids(asked(world(), resting=frozenset({"eu-1"})))[-1] == "eu-1"
    assert ids(asked(world(), resting=frozenset({"eu-1", "eu-2"})))[0] == "us-1"


def test_a_pin_asks_in_that_region_alone() -> None:
    """Whoever joins a session must meet it."""
    assert ids(asked(world(), transceiver_region="us")) == ["us-1"]
    refused = ask(world(), transceiver_region="mars")
    assert isinstance(refused, AllocationRefused)
    assert refused.field == "transceiver_region"


def test_attempts_are_bounded() -> None:
    """A plan of many dead ones costs a client a bounded time."""
    many = [{**ENDS[0], "id": f"eu-{n}", "wire_id": n} for n in range(1, 20)]
    assert len(asked(world(transceivers=many))) == MAX_ATTEMPTS


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (world(transceivers=changed(ENDS, **{e["id"].replace("-", "_"): {"signalling_ipv4": None}
               for e in ENDS})), "no_transceiver_region"),
        (world(transceiver_regions=changed(MEDIA, eu={"state": "draining"}, us={"weight": 0})),
         "no_transceiver_region"),
        (state_of(all_down(), transceivers=ENDS, service={"when_all_down": "closed"}), "no_relay"),
    ],
)  # fmt: skip
def test_where_nobody_can_be_asked_it_says_why(state: AllocatorState, reason: str) -> None:
    """The same words as for allocations."""
    refused = ask(state)
    assert isinstance(refused, AllocationRefused)
    assert refused.reason == reason


def test_a_session_is_found_by_its_token_whatever_takes_new_ones() -> None:
    """A draining transceiver keeps its sessions; one that is gone from the plan is gone."""
    token = asked(world())[0].token
    draining = changed(ENDS, eu_1={"state": "draining"}, eu_2={"weight": 0})
    assert locate_session(world(transceivers=draining), token) is not None
    assert locate_session(world(transceivers=[ENDS[2]]), token) is None


def test_a_foreign_token_leads_nowhere() -> None:
    """Neither one made under another key nor one that is cut."""
    state = world()
    opening = asked(state)[0]
    wrong_key = region_password_key(b"x" * 32, 7)
    for token in (make_token(opening.credential.ufrag, wrong_key), opening.token[:-1], ""):
        assert locate_session(state, token) is None


def test_a_restart_mints_on_the_same_route() -> None:
    """Region and transceiver stay, the nonce does not, and time begins anew."""
    state = world()
    opening = asked(state)[0]
    at = locate_session(state, opening.token)
    assert at is not None
    later = NOW + timedelta(hours=2)
    fresh = renewed(state, at, ttl=600, now=later, entropy=b"renewed")
    decoded = decode(fresh.ufrag, KEYS.routes, now=later)
    assert isinstance(decoded, Decoded)
    assert (decoded.region, decoded.transceiver) == (7, opening.transceiver.wire_id)
    assert decoded.nonce == b"renewed"


def test_randomness_is_as_long_as_it_must_be() -> None:
    """A caller that gives less is wrong."""
    request = AllocationRequest(address=ip_address(BERLIN), source="client_ip")
    with pytest.raises(ValueError, match="entropy"):
        session_attempts(world(), request, now=NOW, entropy=b"short")
    with pytest.raises(ValueError, match="7 bytes"):
        mint(KEYS, region=7, expires_at=NOW + timedelta(hours=1), entropy=b"short")
