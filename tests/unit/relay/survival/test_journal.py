"""The flow journal: what is written is what is read, and nothing else is believed."""

from __future__ import annotations

import os
import socket
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_ice.answered_checks import AnsweredChecks
from firsthop_relay.flows.flow import ClientSockaddr, Flow, ListenerFlows
from firsthop_relay.flows.flow_limits import prefix_of
from firsthop_relay.survival import journal as journal_module
from firsthop_relay.survival.flow_record import (
    RECORD_SIZE,
    FlowRecord,
    ListenerAddress,
    decode,
    encode,
)
from firsthop_relay.survival.journal import Journal, JournalError
from support.relay_world import UPSTREAM

LISTENER = ListenerAddress("udp", "192.0.2.10", 3478)
SOURCES: list[ClientSockaddr] = [
    ("198.51.100.7", 40000),
    ("2001:db8::7", 1, 0, 0),
    (f"fe80::7%{socket.if_indextoname(1)}", 1, 0, 1),
]
UFRAG = b"BavNEjQBAgNlbnRyb3B5P64b3uEFMec"
RECORD = FlowRecord(LISTENER, SOURCES[0], UFRAG, UPSTREAM, 50000, 10.0, 20.0)


class Leg:
    """As much of an upstream socket as a journal asks for."""

    def __init__(self, port: int) -> None:
        self._port = port

    def getsockname(self) -> tuple[str, int]:
        return "192.0.2.10", self._port


def flow_of(
    listener: ListenerFlows, source: ClientSockaddr = SOURCES[0], *, port: int = 50000
) -> Flow:
    at = time.monotonic() - 5
    flow = Flow(listener, source, UFRAG, UPSTREAM, at, b"", AnsweredChecks(1), at, confirmed=True)
    flow.leg = Leg(port)
    return flow


@pytest.fixture
def listener() -> ListenerFlows:
    return ListenerFlows()


def opened(path: Path, listener: ListenerFlows, *, slots: int = 4, **options: Any) -> Journal:
    journal = Journal(path, slots, **options)
    journal.serve(listener, LISTENER)
    return journal


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("upstream", [UPSTREAM, ("2001:db8::9", 65535)])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_record_survives_its_slot(source: ClientSockaddr, upstream: Any, transport: Any) -> None:
    host = "2001:db8::1" if ":" in source[0] else "192.0.2.10"
    record = FlowRecord(
        ListenerAddress(transport, host, 3478), source, UFRAG, upstream, 65535, 0.5, 1e9
    )
    assert len(encode(record)) == RECORD_SIZE
    assert decode(encode(record)) == record


def test_the_form_stays() -> None:
    """Journals and Redis entries of an earlier release hold this."""
    slot = bytes.fromhex(
        "ad4693a90100c63364070000000000000000000000009c4000000000c000020a0000000000000000"
        "000000000d96c00002010000000000000000000000000d97c3504261764e456a514241674e6c626e"
        "52796233423550363462337545464d656340240000000000004034"
    ).ljust(RECORD_SIZE, b"\0")
    assert decode(slot) == RECORD
    assert encode(RECORD) == slot


@pytest.mark.fuzz
@given(st.integers(0, RECORD_SIZE - 1), st.integers(1, 255))
def test_a_torn_record_is_ignored(at: int, change: int) -> None:
    slot = bytearray(encode(RECORD))
    slot[at] ^= change
    assert decode(bytes(slot)) is None


@pytest.mark.fuzz
@given(st.binary(min_size=RECORD_SIZE - 5, max_size=RECORD_SIZE - 5))
def test_a_forged_record_makes_nothing_raise(body: bytes) -> None:
    """With a checksum and version, but any content: no record, or one that a relay can restore."""
    body = b"\1" + body
    record = decode(zlib.crc32(body).to_bytes(4, "big") + body)
    if record is not None:
        record.alive(20.0, idle_s=30, lifetime_s=100)
        prefix_of(record.source[0])
        assert (":" in record.source[0]) == (":" in record.listener.host)
        assert len(record.source) == (4 if ":" in record.listener.host else 2)


@pytest.mark.fuzz
@given(st.binary(max_size=2 * RECORD_SIZE))
def test_junk_is_no_record(junk: bytes) -> None:
    assert decode(junk) is None
    assert decode(junk[:RECORD_SIZE].ljust(RECORD_SIZE, b"\0")) is None


@pytest.mark.parametrize(
    ("now", "alive"),
    [(20.0, True), (49.9, True), (50.0, False), (19.9, False), (9.0, False), (20.1, True)],
)
def test_a_record_is_alive_for_its_idle_time(now: float, alive: bool) -> None:
    """Never before it was written."""
    assert RECORD.alive(now, idle_s=30, lifetime_s=100) == alive
    assert not RECORD.alive(now, idle_s=30, lifetime_s=5)


def test_what_was_kept_is_there_for_the_next(tmp_path: Path, listener: ListenerFlows) -> None:
    journal = opened(tmp_path / "flows", listener, clock=lambda: 100.0)
    by_ipv6 = ListenerFlows()
    journal.serve(by_ipv6, ListenerAddress("udp", "2001:db8::10", 3478))
    for number, source in enumerate(SOURCES):
        at = by_ipv6 if ":" in source[0] else listener
        journal.keep(flow_of(at, source, port=50000 + number))
    journal.close()
    records = [*opened(tmp_path / "flows", listener).records()]
    assert {each.source: each.port for each in records} == {
        source: 50000 + number for number, source in enumerate(SOURCES)
    }
    assert {each.seen_at for each in records} == {100.0}
    assert [*{round(each.opened_at) for each in records}] == [95]


def test_a_process_that_is_killed_loses_nothing(tmp_path: Path, listener: ListenerFlows) -> None:
    """Without close, without flush: another one maps the same pages."""
    child = os.fork()
    if child == 0:
        opened(tmp_path / "flows", listener).keep(flow_of(listener))
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert [each.source for each in opened(tmp_path / "flows", listener).records()] == [SOURCES[0]]


def test_records_are_read_once(tmp_path: Path, listener: ListenerFlows) -> None:
    """A flow that was not restored must not come back after the next crash."""
    journal = opened(tmp_path / "flows", listener)
    journal.keep(flow_of(listener))
    journal.close()
    again = opened(tmp_path / "flows", listener)
    assert len([*again.records()]) == 1
    assert not [*again.records()]


def test_a_source_has_one_slot(tmp_path: Path, listener: ListenerFlows) -> None:
    """The current flow takes the former one's; the former one's end changes nothing."""
    journal = opened(tmp_path / "flows", listener, slots=1)
    former, current = flow_of(listener, port=1), flow_of(listener, port=2)
    for flow in (former, current):
        journal.keep(flow)
    journal.forget(former)
    journal.touch(former)
    journal.close()
    assert [each.port for each in opened(tmp_path / "flows", listener, slots=1).records()] == [2]


def test_it_is_bounded_and_slots_come_back(tmp_path: Path, listener: ListenerFlows) -> None:
    journal = opened(tmp_path / "flows", listener, slots=2)
    flows = [flow_of(listener, ("198.51.100.1", port)) for port in range(3)]
    for flow in flows:
        journal.keep(flow)
    journal.forget(flows[0])
    journal.forget(flows[2])
    journal.keep(flows[2])
    assert (tmp_path / "flows").stat().st_size == 64 + 2 * RECORD_SIZE
    journal.close()
    records = opened(tmp_path / "flows", listener, slots=2).records()
    assert {each.source[1] for each in records} == {1, 2}


def test_streams_are_not_kept(tmp_path: Path, listener: ListenerFlows) -> None:
    journal = opened(tmp_path / "flows", listener)
    other = flow_of(ListenerFlows())
    journal.keep(other)
    journal.touch(other)
    journal.forget(other)
    assert not [*journal.records()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_is_refused(tmp_path: Path, listener: ListenerFlows) -> None:
    """Who wrote it may name any upstream of the table for any client."""
    (tmp_path / "flows").touch(mode=0o600)
    os.chown(tmp_path / "flows", 65534, 65534)
    with pytest.raises(JournalError, match="only the relay's user can write"):
        opened(tmp_path / "flows", listener)


def test_another_boot_or_size_begins_anew(tmp_path: Path, listener: ListenerFlows) -> None:
    for options in ({"boot_id": b"1"}, {"boot_id": b"2"}, {"boot_id": b"2", "slots": 5}):
        journal = opened(tmp_path / "flows", listener, **options)
        assert not [*journal.records()]
        journal.keep(flow_of(listener))
        journal.close()


def test_a_damaged_file_gives_what_is_whole(tmp_path: Path, listener: ListenerFlows) -> None:
    path = tmp_path / "flows"
    journal = opened(path, listener)
    for port in range(3):
        journal.keep(flow_of(listener, ("198.51.100.1", port)))
    journal.close()
    data = bytearray(path.read_bytes())
    data[64 + RECORD_SIZE + 40] ^= 1
    path.write_bytes(data)
    journal = opened(path, listener)
    assert {each.source[1] for each in journal.records()} == {0, 2}
    journal.close()
    path.write_bytes(b"\xff" * 1000)
    assert not [*opened(path, listener).records()]


def test_what_cannot_be_a_journal_is_refused_by_name(
    tmp_path: Path, listener: ListenerFlows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "LOCK_WITHIN_S", 0.05)
    with pytest.raises(JournalError, match="missing/flows: No such file"):
        opened(tmp_path / "missing" / "flows", listener)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalError, match="link"):
        opened(tmp_path / "link", listener)
    (tmp_path / "shared").touch(mode=0o600)
    (tmp_path / "shared").chmod(0o620)
    with pytest.raises(JournalError, match="shared: must be a file that only the relay's user"):
        opened(tmp_path / "shared", listener)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(JournalError, match="pipe"):
        opened(tmp_path / "pipe", listener)
    journal = opened(tmp_path / "flows", listener)
    with pytest.raises(JournalError, match="Resource temporarily unavailable"):
        opened(tmp_path / "flows", listener)
    journal.close()
    opened(tmp_path / "flows", listener).close()
