"""An edge that asks relays for their load: whom, how often, and whose answers it believes."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from firsthop.edge.isolation.relay_loads import (
    KNOWN_S,
    SHORTEST_PAUSE_S,
    Askable,
    LoadBoard,
    LoadWatch,
    ReportedLoad,
    askable,
)
from firsthop_ice.stun import StunMessageType, binding_error, binding_success, build
from firsthop_ice.ufrag import CredentialKeys, mint_probe
from firsthop_steering.decision.candidates_up import candidates_up
from firsthop_steering.decision.topology import pool_sites
from firsthop_steering.feed.snapshot import KeySet, RelayStatus, Status
from support.relay_world import KEYSET, WALL, Relay, credential
from support.waiting import eventually
from support.worlds import NOW, plan_of

CREDENTIAL = mint_probe(
    CredentialKeys.from_keyset(KEYSET),
    expires_at=WALL + timedelta(minutes=5),
    entropy=b"entropy",
    reads_load=True,
)
FRA: Askable = ("fra-1", ip_address("192.0.2.1"), 3478)
IAD: Askable = ("iad-1", ip_address("2001:db8::1"), 3479)
AT_FRA, AT_IAD = ("192.0.2.1", 3478), ("2001:db8:0::0001", 3479)
FIRST, SECOND = b"transaction1", b"transaction2"


def said(question: bytes, *, sessions: int = 0) -> bytes:
    """What a relay with so many sessions answers."""
    relay = Relay()
    relay.table.sessions_elsewhere = sessions
    answer = relay.receive(question)
    assert isinstance(answer, bytes)
    return answer


def test_relays_that_are_up_are_asked_at_every_address_that_is() -> None:
    """No TURN server, nothing that is down, or that operators took out."""
    regions = [{"id": "fra", "latitude": 50.1, "longitude": 8.7}]
    both = {"region": "fra", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1"}
    relays = [
        {"id": "z-both", **both, "udp_port": 4000},
        {"id": "six", "region": "fra", "ipv6": "2001:db8::2"},
        {"id": "half", **both},
        {"id": "dead", **both},
        {"id": "turn", **both, "kind": "turn"},
        {"id": "off", **both, "state": "disabled"},
    ]
    plan = plan_of({"regions": regions, "relays": relays})
    up, down = {"verdict": "up"}, {"verdict": "down"}
    words = {
        "z-both": up, "six": up, "turn": up, "off": up, "dead": down,
        "half": {"verdict": "up", "families": {"ipv4": "down", "ipv6": "up"}},
    }  # fmt: skip
    status = Status(
        number=1,
        lineage="test",
        created_at=NOW,
        relays={name: RelayStatus.model_validate(each) for name, each in words.items()},
    )
    here = candidates_up(pool_sites(plan, "relays"), status, vantage=None, now=NOW)
    assert askable(plan, here) == [
        ("half", ip_address("2001:db8::1"), 3478),
        ("six", ip_address("2001:db8::2"), 3478),
        ("z-both", ip_address("192.0.2.1"), 4000),
        ("z-both", ip_address("2001:db8::1"), 4000),
    ]


def test_the_newest_answer_of_each_is_known_for_so_long() -> None:
    board = LoadBoard()
    board.receive(said(board.question(FRA, CREDENTIAL, FIRST), sessions=7), AT_FRA, 10.0)
    board.receive(said(board.question(IAD, CREDENTIAL, SECOND), sessions=8), AT_IAD, 11.0)
    fra, iad = ReportedLoad(7, draining=False, at=10.0), ReportedLoad(8, draining=False, at=11.0)
    assert board.loads(11.0) == {"fra-1": fra, "iad-1": iad}
    assert board.loads(10.0 + KNOWN_S) == {"fra-1": fra, "iad-1": iad}
    assert board.loads(10.5 + KNOWN_S) == {"iad-1": iad}
    board.receive(said(board.question(FRA, CREDENTIAL, FIRST), sessions=9), AT_FRA, 30.0)
    assert board.loads(30.0) == {"fra-1": ReportedLoad(9, draining=False, at=30.0)}


def test_an_answer_counts_once_and_from_where_it_was_asked() -> None:
    """Another address, another port, an answer that comes twice, or to an earlier question."""
    board = LoadBoard()
    late = said(board.question(FRA, CREDENTIAL, FIRST), sessions=1)
    answer = said(board.question(FRA, CREDENTIAL, SECOND), sessions=2)
    board.receive(late, AT_FRA, 0.0)
    board.receive(answer, AT_IAD, 0.0)
    board.receive(answer, ("192.0.2.1", 3479), 0.0)
    board.receive(answer, ("192.0.2.2", 3478), 0.0)
    assert board.loads(0.0) == {}
    board.receive(answer, AT_FRA, 0.0)
    board.receive(answer, AT_FRA, 9.0)
    assert board.loads(0.0) == {"fra-1": ReportedLoad(2, draining=False, at=0.0)}
    assert (board.outcomes["heard"], board.outcomes["stray"]) == (1, 5)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"\1\1\0\0\x21\x12\xa4\x43" + FIRST, "not_stun"),
        (build(StunMessageType.SUCCESS, FIRST, [(0xC0F1, bytes(8))]), "integrity"),
        (
            build(StunMessageType.SUCCESS, FIRST, [(0xC0F1, bytes(8))], password="guess"),
            "integrity",
        ),
        (binding_error(FIRST, 400, "Bad Request", CREDENTIAL.password), "refused"),
        (binding_success(FIRST, ("192.0.2.9", 1), CREDENTIAL.password), "no_load"),
    ],
)
def test_what_is_no_answer_is_counted_and_the_answer_still_taken(
    packet: bytes, reason: str
) -> None:
    """Somebody on the way who is faster than the relay changes nothing."""
    board = LoadBoard()
    question = board.question(FRA, CREDENTIAL, FIRST)
    board.receive(packet, AT_FRA, 0.0)
    assert board.loads(0.0) == {}
    assert board.outcomes[reason] == 1
    board.receive(said(question, sessions=3), AT_FRA, 1.0)
    assert board.loads(1.0) == {"fra-1": ReportedLoad(3, draining=False, at=1.0)}


@pytest.mark.fuzz
@given(st.binary(max_size=100), st.booleans())
def test_junk_is_survived(junk: bytes, aimed: bool) -> None:
    board = LoadBoard()
    board.question(FRA, CREDENTIAL, FIRST)
    board.receive(junk[:8].ljust(8) + FIRST + junk if aimed else junk, AT_FRA, 0.0)
    assert board.loads(0.0) == {}


def test_nothing_is_kept_of_relays_that_are_no_more_nor_of_questions_that_are_old() -> None:
    """Neither what was heard of them nor an answer that comes later."""
    board = LoadBoard()
    board.receive(said(board.question(FRA, CREDENTIAL, FIRST)), AT_FRA, 0.0)
    waits = said(board.question(IAD, CREDENTIAL, SECOND))
    board.forget_all_but({("sin-1", ip_address("192.0.2.9"), 3478)})
    board.receive(waits, AT_IAD, 0.0)
    assert board.loads(0.0) == {}
    for number in range(1000):
        board.question(FRA, CREDENTIAL, number.to_bytes(12, "big"))
    assert len(board._questions) == 1


# The watch, in simulated time, on a machine without a network: nothing can be sent.


class Time:
    """Passes while somebody sleeps, until `end`."""

    def __init__(self, end: float) -> None:
        self.now, self.end = 0.0, end
        self.pauses: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        if self.now >= self.end:
            await asyncio.Event().wait()
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENETUNREACH, "Network is unreachable")

    absent = SimpleNamespace(
        socket=refuse, AF_INET=2, AF_INET6=10, SOCK_DGRAM=2
    )  # the loop keeps its own
    monkeypatch.setattr("firsthop.edge.isolation.relay_loads.socket", absent)


async def watched(
    relays: list[Askable],
    keys: Callable[[], KeySet | None],
    *,
    end: float,
    wall: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[Time, LoadWatch]:
    """A watch that has asked for so many seconds."""
    time = Time(end)
    watch = LoadWatch(lambda: relays, keys, clock=time.clock, wall=wall, sleep=time.sleep)
    running = asyncio.create_task(watch.run())
    await asyncio.sleep(0)
    assert not time.pauses, "nothing before it is told to"
    watch.start()
    await eventually(lambda: time.now >= end or running.done(), "the end")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    return time, watch


def many(count: int) -> list[Askable]:
    return [(f"r-{number}", ip_address(number), 3478) for number in range(count)]


async def test_each_is_asked_about_every_five_seconds_spread_over_them() -> None:
    """And what cannot be sent stops nobody."""
    time, watch = await watched(many(100), lambda: KEYSET, end=100.0)
    assert 1800 <= watch.board.outcomes["not_sent"] <= 2300
    assert all(0.04 < pause < 0.06 for pause in time.pauses)
    assert len({round(pause, 9) for pause in time.pauses}) >= 15, "rounds differ"
    assert watch.loads() == {}


async def test_no_more_than_500_datagrams_a_second_leave() -> None:
    """However many relays there are: their round takes longer then."""
    time, watch = await watched(many(10_000), lambda: KEYSET, end=4.0)
    assert min(time.pauses) >= SHORTEST_PAUSE_S
    assert watch.board.outcomes["not_sent"] == len(time.pauses) + 1, "one before each pause"


@pytest.mark.parametrize("relays", [many(3), []])
async def test_without_keys_nobody_is_asked_until_there_are_some(relays: list[Askable]) -> None:
    time, watch = await watched(relays, lambda: None, end=60.0)
    assert watch.board.outcomes["not_sent"] == 0
    assert all(4.5 <= pause <= 5.5 for pause in time.pauses)


async def test_keys_are_taken_anew_for_every_round() -> None:
    held: list[KeySet | None] = [None, None, KEYSET, KEYSET, None]
    _, watch = await watched(many(3), lambda: held.pop(0) if held else None, end=60.0)
    assert watch.board.outcomes["not_sent"] == 6


async def test_a_clock_or_keys_that_cannot_be_right_are_said_once() -> None:
    """And end nothing."""
    wrong = datetime(2040, 1, 1, tzinfo=UTC)
    with capture_logs() as logs:
        _, watch = await watched(many(3), lambda: KEYSET, end=60.0, wall=lambda: wrong)
    assert watch.board.outcomes["not_sent"] == 0
    assert [each["event"] for each in logs] == ["relay_loads.unavailable"]
    unsigned = KEYSET.model_copy(update={"signing": 6})
    with capture_logs() as logs:
        await watched(many(3), lambda: unsigned, end=60.0)
    assert [each["reason"] for each in logs] == ["signing key 6 is not in the key set"]


async def test_who_is_told_to_stop_asks_no_more() -> None:
    """In the middle of a round too; and again when told to."""
    time = Time(1e9)
    watch = LoadWatch(lambda: many(1000), lambda: KEYSET, clock=time.clock, sleep=time.sleep)
    running = asyncio.create_task(watch.run())
    watch.start()
    await eventually(lambda: watch.board.outcomes["not_sent"] > 10, "questions")
    watch.stop()
    asked, pauses = watch.board.outcomes["not_sent"], len(time.pauses)
    for _ in range(100):
        await asyncio.sleep(0)
    assert watch.board.outcomes["not_sent"] == asked
    assert len(time.pauses) <= pauses + 1
    watch.start()
    await eventually(lambda: watch.board.outcomes["not_sent"] > asked, "more questions")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_a_session_of_a_relay_is_in_its_answer() -> None:
    """From the flow to the board."""
    board, relay = LoadBoard(), Relay()
    relay.connect(credential().ufrag)
    answer = relay.receive(board.question(FRA, CREDENTIAL, FIRST), ("203.0.113.1", 1))
    assert isinstance(answer, bytes)
    board.receive(answer, AT_FRA, 0.0)
    assert board.loads(0.0) == {"fra-1": ReportedLoad(1, draining=False, at=0.0)}
