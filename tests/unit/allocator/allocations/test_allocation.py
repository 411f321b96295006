"""One allocation: what it says, and that its credential opens what it says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_allocator.allocations.allocation import (
    ENTROPY_LENGTH,
    MAX_TTL_S,
    MIN_TTL_S,
    Allocation,
    AllocationRequest,
    allocate,
)
from firsthop_allocator.allocations.route import AllocationRefused
from firsthop_allocator.http.schema import AllocationAnswer
from firsthop_ice.ufrag import Decoded, RejectedUfrag, decode, password_for, region_password_key
from support.allocator_world import (
    BERLIN,
    ENTROPY,
    KEYS,
    NOWHERE,
    RELAYS,
    SAO_PAULO,
    allocated,
    changed,
    refused,
    state_of,
)
from support.worlds import NOW

VIEW = state_of(relays=changed(RELAYS, fra_1={"tcp_port": 443}))
TOP = {
    "id", "created_at", "expires_at", "ttl", "client", "relays", "transceiver_region",
    "ice_parameters", "candidates", "sdp", "ice_servers", "key_id", "decision",
}  # fmt: skip
DOCUMENTED = {
    "client": {"ip", "country", "latitude", "longitude", "source"},
    "relays": {
        "id", "region", "ipv4", "ipv6", "udp_port", "tcp_port", "rank", "rtt_ms", "distance_km",
        "by", "since",
    },
    "ice_parameters": {"username_fragment", "password", "ice_lite"},
    "candidates": {"candidate", "sdp_mid", "sdp_mline_index", "username_fragment"},
    "decision": {"plan", "status", "reason", "explored"},
}  # fmt: skip


def test_the_answer_has_the_documented_members_and_no_others() -> None:
    """Design §6, member by member; the model that /openapi.json shows agrees."""
    answer = json.loads(allocated(VIEW).to_json())
    assert set(answer) == TOP
    for name, members in DOCUMENTED.items():
        for each in answer[name] if isinstance(answer[name], list) else [answer[name]]:
            assert set(each) == members, name
    AllocationAnswer.model_validate(answer)


def test_the_answer_says_where_the_client_is_and_what_it_gets() -> None:
    """Values, not only names: Berlin goes to Frankfurt, by its own ports."""
    answer = json.loads(allocated(VIEW).to_json())
    assert answer["client"] == {
        "ip": BERLIN, "country": "DE", "latitude": 52.5, "longitude": 13.4, "source": "client_ip",
    }  # fmt: skip
    first = next(each for each in answer["relays"] if each["id"] == "fra-1")
    assert first["region"] == "fra"
    assert (first["ipv4"], first["ipv6"]) == ("192.0.2.11", "2001:db8::11")
    assert (first["udp_port"], first["tcp_port"]) == (3479, 443)
    assert 400 < first["distance_km"] < 450
    assert first["rtt_ms"] == pytest.approx(4 + 0.015 * first["distance_km"], abs=0.01)
    assert [each["rank"] for each in answer["relays"]] == [1, 2, 3]
    assert answer["transceiver_region"] == "eu"
    assert answer["key_id"] == 5
    assert (answer["decision"]["plan"], answer["decision"]["status"]) == (41, 7)
    assert answer["decision"]["reason"] == "lowest score among the eligible"


def test_the_credential_is_everywhere_the_same_and_names_the_region() -> None:
    """What a relay decodes from the ufrag is what the answer says in words."""
    answer = json.loads(allocated(VIEW).to_json())
    ice = answer["ice_parameters"]
    fragment, password = ice["username_fragment"], ice["password"]
    assert len(fragment) == 31
    assert {each["username_fragment"] for each in answer["candidates"]} == {fragment}
    assert f"a=ice-ufrag:{fragment}" in answer["sdp"]
    assert f"a=ice-pwd:{password}" in answer["sdp"]
    decoded = decode(fragment, KEYS.routes, now=NOW)
    assert isinstance(decoded, Decoded)
    assert (decoded.region, decoded.transceiver) == (7, 0)
    assert decoded.nonce == ENTROPY[:7]
    assert password == password_for(fragment, region_password_key(KEYS.masters[5], 7))


def test_a_turned_bit_makes_it_worthless() -> None:
    """Any character changed to its neighbour in the alphabet changes one bit at least."""
    fragment = allocated(VIEW).credential.ufrag
    for place, letter in enumerate(fragment):
        other = "B" if letter == "A" else "A"
        forged = fragment[:place] + other + fragment[place + 1 :]
        assert isinstance(decode(forged, KEYS.routes, now=NOW), RejectedUfrag)


def test_sdp_is_the_candidates_as_attribute_lines() -> None:
    """ice-lite first, the candidates in order, the end marked."""
    answer = json.loads(allocated(VIEW).to_json())
    assert answer["ice_parameters"]["ice_lite"] is True
    assert answer["sdp"][0] == "a=ice-lite"
    assert answer["sdp"][3:-1] == [f"a={each['candidate']}" for each in answer["candidates"]]
    assert answer["sdp"][-1] == "a=end-of-candidates"


@given(
    ttl=st.integers(MIN_TTL_S, MAX_TTL_S),
    now=st.datetimes(datetime(2026, 1, 2), datetime(2034, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_expiry_is_the_credentials_own(ttl: int, now: datetime) -> None:
    """expires_at is when relays stop to take it: at the asked time, or up to 16 s later."""
    request = AllocationRequest(address=ip_address(BERLIN), source="peer", ttl=ttl)
    made = allocate(VIEW, request, now=now, entropy=ENTROPY)
    assert isinstance(made, Allocation)
    answer = json.loads(made.to_json())
    expires_at = datetime.fromisoformat(answer["expires_at"])
    created_at = datetime.fromisoformat(answer["created_at"])
    assert timedelta(0) <= expires_at - now - timedelta(seconds=ttl) < timedelta(seconds=16)
    assert answer["ttl"] == (expires_at - created_at).total_seconds()
    ufrag = made.credential.ufrag
    assert isinstance(decode(ufrag, KEYS.routes, now=expires_at - timedelta(seconds=1)), Decoded)
    assert decode(ufrag, KEYS.routes, now=expires_at) == RejectedUfrag("expired")


def test_a_client_without_a_place_has_no_coordinates() -> None:
    """Null, and never (0, 0)."""
    answer = json.loads(allocated(VIEW, NOWHERE).to_json())
    assert answer["client"]["latitude"] is None
    assert answer["client"]["longitude"] is None
    assert answer["client"]["country"] is None
    assert {each["distance_km"] for each in answer["relays"]} == {None}


def test_the_id_tells_nothing_of_the_nonce() -> None:
    """Each has random bytes of its own."""
    made = allocated(VIEW)
    assert made.id == ENTROPY[7:19].hex()
    with pytest.raises(ValueError, match=f"{ENTROPY_LENGTH} bytes"):
        allocated(VIEW, entropy=b"short")


@pytest.mark.parametrize("year", [1970, 2025, 2099])
def test_a_wrong_clock_is_a_refusal_of_ours(year: int) -> None:
    """Where no expiry can be written, nothing is minted."""
    request = AllocationRequest(address=ip_address(BERLIN), source="peer")
    made = allocate(VIEW, request, now=datetime(year, 1, 1, tzinfo=UTC), entropy=ENTROPY)
    assert isinstance(made, AllocationRefused)
    assert (made.reason, made.field) == ("clock", None)
    assert "clock" in made.rule


def test_services_are_found_by_id_and_name_and_the_first_is_the_default() -> None:
    """Signalling services cannot carry media, so they are no choice."""
    services = [
        {"id": "zebra", "name": "z.edge.example.", "regions": ["gru"]},
        {"id": "beta", "name": "b.edge.example.", "regions": ["iad"]},
        {"id": "alpha", "name": "a.edge.example.", "pool": "transceivers"},
    ]
    state = state_of(services=services)
    assert allocated(state).route.service == "beta"
    assert allocated(state, service="zebra").route.service == "zebra"
    assert allocated(state, service="Z.edge.EXAMPLE").route.offers[0].relay.region == "gru"
    assert refused(state, service="nothing") == AllocationRefused(
        "unknown_service", "service", "names no service"
    )
    signalling = refused(state, service="alpha")
    assert signalling.field == "service"
    assert "transceivers" in signalling.rule
    assert refused(state_of(services=[])).reason == "no_relay"


def test_two_clients_share_what_is_laid_out_and_nothing_else() -> None:
    """A kept route carries neither the first client's address nor its credential."""
    first = json.loads(allocated(VIEW, "10.1.1.1", entropy=b"a" * ENTROPY_LENGTH).to_json())
    second = json.loads(allocated(VIEW, "10.1.1.2", entropy=b"b" * ENTROPY_LENGTH).to_json())
    assert first["relays"] == second["relays"]
    assert first["client"]["ip"] != second["client"]["ip"]
    assert first["ice_parameters"] != second["ice_parameters"]
    assert first["id"] != second["id"]


def test_south_america_gets_another_answer() -> None:
    """The test world can tell places apart."""
    made = allocated(VIEW, SAO_PAULO)
    assert made.route.offers[0].relay.region == "gru"
    assert made.route.transceiver_region == "us"
