"""Tickets to measure relays by: whom they name, what their credential is good for; no sockets."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from firsthop_allocator.allocations.state import AllocatorState
from firsthop_allocator.measuring.samples import MAX_WAITING, SampleQueue
from firsthop_allocator.measuring.ticket import (
    ENTROPY_LENGTH,
    NEAREST,
    RACED,
    Ticket,
    prefix_number,
    ticket,
)
from firsthop_ice.stun import binding_request, parse
from firsthop_ice.ufrag import probe_password
from firsthop_relay.flows.responder import answer_probe
from firsthop_steering.feed.ticket_proof import MAX_PROOF, read_proof
from firsthop_steering.feed.token_bucket import TokenBuckets
from support.allocator_world import BERLIN, KEYS, NEW_YORK, all_down, state_of
from support.worlds import NOW, status_of

MANY: list[dict[str, Any]] = [
    {"id": f"r{n}", "latitude": 50.0, "longitude": 8.0 + 5 * n} for n in range(12)
]
RELAYS: list[dict[str, Any]] = [
    {"id": f"r{n}-1", "region": f"r{n}", "ipv4": f"192.0.2.{n + 1}", "tcp_port": 443}
    for n in range(12)
]


def made(state: AllocatorState, client: str = BERLIN, seed: int = 0) -> Ticket:
    service = state.tables.default_service
    assert service is not None
    entropy = seed.to_bytes(2, "big") + bytes(range(ENTROPY_LENGTH - 2))
    found = ticket(state, service, ip_address(client), now=NOW, entropy=entropy)
    assert isinstance(found, Ticket), found
    return found


def ids(found: Ticket) -> list[str]:
    return [relay.id for relay, _ in found.relays]


def test_the_nearest_regions_and_one_other() -> None:
    """One relay of each; over many tickets every region is measured from everywhere."""
    state = state_of(regions=MANY, relays=RELAYS)
    tickets = [ids(made(state, seed=seed)) for seed in range(60)]
    assert {len(set(each)) for each in tickets} == {RACED}
    assert len({tuple(each[:NEAREST]) for each in tickets}) == 1
    assert {each[NEAREST] for each in tickets} == {f"r{n}-1" for n in range(12)} - set(
        tickets[0][:NEAREST]
    )
    few = state_of()
    assert [each[:3] for each in ids(made(few))] == ["fra", "iad", "gru"]
    assert ids(made(few, NEW_YORK))[0][:3] == "iad"


def test_a_relay_that_is_down_is_not_measured() -> None:
    """And without any there is no ticket."""
    down = state_of(status_of(fra_1="down", fra_2="down"))
    assert [each[:3] for each in ids(made(down))] == ["iad", "gru"]
    state = state_of(all_down(), service={"when_all_down": "closed"})
    service = state.tables.default_service
    assert service is not None
    refused = ticket(state, service, ip_address(BERLIN), now=NOW, entropy=bytes(ENTROPY_LENGTH))
    assert not isinstance(refused, Ticket)
    assert refused.reason == "no_relay"


def test_relays_answer_its_checks_by_themselves() -> None:
    """A check as a browser makes it of the description; TCP is left out, where a probe ends it."""
    found = made(state_of(regions=MANY, relays=RELAYS))
    answer = found.to_json()
    name, password = answer["username_fragment"], answer["password"]
    check = binding_request(b"transaction!", f"{name}:brow".encode(), password)
    key = KEYS.routes.by_id[KEYS.signing]
    said = answer_probe(check, ("198.51.100.7", 4711), probe_password(name, key))
    assert isinstance(said, bytes)
    assert parse(said).authentic(password)
    for each, (relay, rtt_ms) in zip(answer["relays"], found.relays, strict=True):
        lines = each["sdp"].split("\r\n")
        assert [line for line in lines if line.startswith("a=candidate")] == [
            f"a=candidate:1 1 udp 2130706431 {relay.ipv4} 3478 typ host"
        ]
        assert f"a=ice-ufrag:{name}" in lines
        assert f"a=ice-pwd:{password}" in lines
        assert (each["id"], each["rtt_ms"]) == (relay.id, rtt_ms)


def test_the_proof_names_the_network_and_the_relays() -> None:
    """So a report of another network, or about another relay, is not covered by it."""
    for client in (BERLIN, "2001:db8:1:2::3"):
        found = made(state_of(), client)
        claim = read_proof(found.proof, KEYS.routes)
        assert claim is not None
        assert claim.prefix == prefix_number(ip_address(client))
        assert claim.relays == tuple(ids(found))
        assert claim.expires_at == found.credential.expires_at
        assert claim.nonce == bytes(range(ENTROPY_LENGTH - 2)).hex()
    long = [
        {"id": f"{n}{'x' * 61}{n}", "region": f"r{n}", "ipv4": f"192.0.2.{n}"} for n in range(9)
    ]
    assert len(made(state_of(regions=MANY, relays=long)).proof) <= MAX_PROOF


def test_an_address_has_one_seat_and_a_network_several() -> None:
    """One client of a network is one source; many clients are several."""

    def seat(client: str, seed: int) -> int:
        claim = read_proof(made(state_of(), client, seed=seed).proof, KEYS.routes)
        assert claim is not None
        return claim.seat

    assert len({seat(BERLIN, seed) for seed in range(9)}) == 1
    assert len({seat(f"10.1.1.{host}", 0) for host in range(40)}) == 8
    assert len({seat(f"2001:db8:1:2::{host}", 0) for host in range(9)}) == 1, "one subscriber"
    assert len({seat(f"2001:db8:1:{net}00::1", 0) for net in range(10, 99)}) == 8


def test_pace() -> None:
    """So many at once, then one by one; a clock that steps back gives nothing away."""
    pace = TokenBuckets(burst=2, refill_s=8.0, max_keys=2)
    assert [pace.wait_s("a", 100.0) for _ in range(3)] == [0, 0, 8]
    assert pace.wait_s("a", 50.0) == 8
    assert pace.wait_s("a", 56.0) == 2
    assert [pace.wait_s("a", 58.0) for _ in range(2)] == [0, 8]
    pace.wait_s("b", 58.0)
    pace.wait_s("c", 58.0)
    assert pace.wait_s("a", 58.0) == 0, "who was silent longest is forgotten"


def test_the_queue_keeps_the_newest_and_prefixes_only() -> None:
    """Whoever asks again for what was not passed on gets the same."""
    queue = SampleQueue()
    for n in range(MAX_WAITING + 3):
        client = ip_address("198.51.100.7" if n % 2 else "2001:db8:1:2::3")
        queue.put(prefix_number(client), [("fra-1", n + 1.0)], 0.0, "proof")
    first = queue.first(2)
    assert first == queue.first(2) == [
        ("198.51.100.0/24", "fra-1", 4.0, 0.0, "proof"),
        ("2001:db8:1::/48", "fra-1", 5.0, 0.0, "proof"),
    ]  # fmt: skip
    queue.passed(2)
    assert queue.first(1)[0][2] == 6.0
    assert dict(queue.results) == {"taken": MAX_WAITING + 3, "limited": 0, "overflowed": 3}
