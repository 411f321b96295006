"""Whom an allocator asks for a session, in what order and with which credential; no sockets."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from allocator_world import BERLIN, KEYS, MEDIA, NEW_YORK, all_down, changed, view_of
from firsthop_allocator.allocation import AllocationRequest
from firsthop_allocator.route import Refused
from firsthop_allocator.session import (
    ENTROPY_LENGTH,
    MAX_ATTEMPTS,
    Opening,
    openings,
    renewed,
    whereabouts,
)
from firsthop_allocator.view import AllocatorView
from firsthop_steering.session_token import make_token
from firsthop_steering.ufrag import Decoded, decode, mint, region_password_key
from worlds import NOW

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


def world(**document: Any) -> AllocatorView:
    return view_of(**{"transceivers": ENDS, **document})


def ask(
    view: AllocatorView,
    client: str = BERLIN,
    *,
    seed: int = 0,
    resting: frozenset[str] = frozenset(),
    **fields: Any,
) -> tuple[Opening, ...] | Refused:
    request = AllocationRequest(address=ip_address(client), source="client_ip", **fields)
    entropy = seed.to_bytes(2, "big") + bytes(range(ENTROPY_LENGTH - 2))
    return openings(view, request, now=NOW, entropy=entropy, resting=resting)


def asked(*given: Any, **fields: Any) -> tuple[Opening, ...]:
    made = ask(*given, **fields)
    assert isinstance(made, tuple), made
    return made


def ids(made: tuple[Opening, ...]) -> list[str]:
    return [each.transceiver.id for each in made]


def test_the_nearest_region_is_asked_first_and_the_next_when_it_is_dead() -> None:
    """Every transceiver of the chosen region before any of the next one."""
    assert [each[:2] for each in ids(asked(world()))] == ["eu", "eu", "us"]
    assert [each[:2] for each in ids(asked(world(), NEW_YORK))] == ["us", "eu", "eu"]


def test_every_credential_names_whom_it_is_for() -> None:
    """Region and transceiver in the ufrag, no two alike, and tokens that lead back."""
    view = world()
    made = asked(view)
    assert len({each.credential.ufrag for each in made}) == len(made)
    for each in made:
        decoded = decode(each.credential.ufrag, KEYS.routes, now=NOW)
        assert isinstance(decoded, Decoded)
        wire_id = {"eu": 7, "us": 300}[each.route.transceiver_region]
        assert (decoded.region, decoded.transceiver) == (wire_id, each.transceiver.wire_id)
        found = whereabouts(view, each.token)
        assert found is not None
        assert found.transceiver == each.transceiver
        assert found.password_key == each.password_key


def test_sessions_spread_over_a_region_by_weight() -> None:
    """Each draws anew; a weight of 0 and what does not take sessions are never asked."""
    firsts = Counter(ids(asked(world(), seed=seed))[0] for seed in range(400))
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
        view = world(transceivers=changed(ENDS, eu_1=change))
        assert ids(asked(view)) == ["eu-2", "us-1"], change


def test_those_that_did_not_answer_lately_are_asked_last() -> None:
    """Even when another region then comes first."""
    assert ids(asked(world(), resting=frozenset({"eu-1"})))[-1] == "eu-1"
    assert ids(asked(world(), resting=frozenset({"eu-1", "eu-2"})))[0] == "us-1"


def test_a_pin_asks_in_that_region_alone() -> None:
    """Whoever joins a session must meet it."""
    assert ids(asked(world(), transceiver_region="us")) == ["us-1"]
    refused = ask(world(), transceiver_region="mars")
    assert isinstance(refused, Refused)
    assert refused.field == "transceiver_region"


def test_attempts_are_bounded() -> None:
    """A plan of many dead ones costs a client a bounded time."""
    many = [{**ENDS[0], "id": f"eu-{n}", "wire_id": n} for n in range(1, 20)]
    assert len(asked(world(transceivers=many))) == MAX_ATTEMPTS


@pytest.mark.parametrize(
    ("view", "reason"),
    [
        (world(transceivers=changed(ENDS, **{e["id"].replace("-", "_"): {"signalling_ipv4": None}
               for e in ENDS})), "no_transceiver_region"),
        (world(transceiver_regions=changed(MEDIA, eu={"state": "draining"}, us={"weight": 0})),
         "no_transceiver_region"),
        (view_of(all_down(), transceivers=ENDS, service={"when_all_down": "closed"}), "no_relay"),
    ],
)  # fmt: skip
def test_where_nobody_can_be_asked_it_says_why(view: AllocatorView, reason: str) -> None:
    """The same words as for allocations."""
    refused = ask(view)
    assert isinstance(refused, Refused)
    assert refused.reason == reason


def test_a_session_is_found_by_its_token_whatever_takes_new_ones() -> None:
    """A draining transceiver keeps its sessions; one that is gone from the plan is gone."""
    token = asked(world())[0].token
    draining = changed(ENDS, eu_1={"state": "draining"}, eu_2={"weight": 0})
    assert whereabouts(world(transceivers=draining), token) is not None
    assert whereabouts(world(transceivers=[ENDS[2]]), token) is None


def test_a_foreign_token_leads_nowhere() -> None:
    """Neither one made under another key nor one that is cut."""
    view = world()
    opening = asked(view)[0]
    wrong_key = region_password_key(b"x" * 32, 7)
    for token in (make_token(opening.credential.ufrag, wrong_key), opening.token[:-1], ""):
        assert whereabouts(view, token) is None


def test_a_restart_mints_on_the_same_route() -> None:
    """Region and transceiver stay, the nonce does not, and time begins anew."""
    view = world()
    opening = asked(view)[0]
    at = whereabouts(view, opening.token)
    assert at is not None
    later = NOW + timedelta(hours=2)
    fresh = renewed(view, at, ttl=600, now=later, entropy=b"renewed")
    decoded = decode(fresh.ufrag, KEYS.routes, now=later)
    assert isinstance(decoded, Decoded)
    assert (decoded.region, decoded.transceiver) == (7, opening.transceiver.wire_id)
    assert decoded.nonce == b"renewed"


def test_randomness_is_as_long_as_it_must_be() -> None:
    """A caller that gives less is wrong."""
    request = AllocationRequest(address=ip_address(BERLIN), source="client_ip")
    with pytest.raises(ValueError, match="entropy"):
        openings(world(), request, now=NOW, entropy=b"short")
    with pytest.raises(ValueError, match="7 bytes"):
        mint(KEYS, region=7, expires_at=NOW + timedelta(hours=1), entropy=b"short")
