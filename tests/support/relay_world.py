"""What tests of the relay share: keys, credentials, checks, and a client and upstream in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

from firsthop_ice.session_over import session_over_indication
from firsthop_ice.stun import USERNAME, StunMessageType, binding_success, build
from firsthop_ice.ufrag import (
    Credential,
    CredentialKeys,
    RouteKeys,
    mint,
    mint_probe_credential,
)
from firsthop_relay.flows.flow import ClientSockaddr, Flow, ListenerFlows
from firsthop_relay.flows.flow_table import FlowTable
from firsthop_relay.flows.limits import Limits
from firsthop_relay.flows.route_text import read_routes
from firsthop_relay.flows.routes import RouteTable
from firsthop_steering.feed.snapshot import CredentialKey, KeySet

WALL = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEYSET = KeySet(
    number=1,
    lineage="test",
    created_at=WALL,
    signing=5,
    keys=(CredentialKey(id=5, route="05" * 32, password="45" * 32, created_at=WALL),),
)
KEYS = RouteKeys.from_keyset(KEYSET)
PROBE = mint_probe_credential(KEYSET, now=WALL, entropy=b"entropy")
REGION, CLUSTER, UNKNOWN_REGION = 7, 8, 9
UPSTREAM, OTHER, RELAY = ("192.0.2.1", 3479), ("192.0.2.2", 3479), ("2001:db8::8", 3478)
ROUTES = read_routes(
    """
routes:
  - region: 7
    upstreams:
      - {host: 192.0.2.1, port: 3479, wire_id: 1}
      - {host: 192.0.2.2, port: 3479, wire_id: 2}
  - region: 8
    upstreams:
      - {host: "2001:db8::8", port: 3478}
"""
)
CLIENT: ClientSockaddr = ("198.51.100.7", 40000)
RTP = b"\x80\x6f" + bytes(158)
DTLS = b"\x16\xfe\xfd" + bytes(60)
_serial = count(1)


def credential(
    region: int = REGION,
    transceiver: int = 1,
    *,
    lifetime: float = 3600.0,
    serial: int | None = None,
) -> Credential:
    """A fresh one, good for `lifetime` seconds from WALL; `serial` makes it the same each time."""
    return mint(
        CredentialKeys.from_keyset(KEYSET),
        region=region,
        transceiver=transceiver,
        expires_at=WALL + timedelta(seconds=lifetime),
        entropy=(next(_serial) if serial is None else serial).to_bytes(7, "big"),
    )


def check(
    ufrag: str,
    password: str = "of the transceiver",
    *,
    transaction_id: bytes | None = None,
    sender: bytes = b":peer",
    attributes: list[tuple[int, bytes]] | None = None,
) -> bytes:
    """A Binding request as an ICE agent sends it."""
    tid = transaction_id or next(_serial).to_bytes(12, "big")
    username = (USERNAME, ufrag.encode() + sender)
    return build(StunMessageType.REQUEST, tid, [username, *(attributes or [])], password=password)


def success(request: bytes) -> bytes:
    """What a transceiver answers to `request`."""
    return binding_success(request[8:20], ("192.0.2.100", 1), "of the transceiver")


def session_over() -> bytes:
    """What a transceiver sends when it ends a session."""
    return session_over_indication(next(_serial).to_bytes(12, "big"))


class Relay:
    """A table with one listener and a clock that only the test moves."""

    def __init__(self, *, limits: Limits | None = None, routes: RouteTable = ROUTES) -> None:
        self.table = FlowTable(keys=KEYS, routes=routes, limits=limits)
        self.listener = ListenerFlows()
        self.now = 1000.0

    @property
    def wall(self) -> datetime:
        """WALL when the test began."""
        return WALL + timedelta(seconds=self.now - 1000.0)

    def receive(self, packet: bytes, source: ClientSockaddr = CLIENT) -> object:
        """From a client."""
        return self.table.receive(self.listener, packet, source, now=self.now, wall=self.wall)

    def open(self, ufrag: str, source: ClientSockaddr = CLIENT) -> tuple[Flow, bytes]:
        """A check that must be led somewhere, and the flow it is led by."""
        packet = check(ufrag)
        flow = self.receive(packet, source)
        assert isinstance(flow, Flow), flow
        return flow, packet

    def returned(self, flow: Flow, packet: bytes) -> object:
        """From the flow's upstream."""
        return self.table.returned(flow, packet, now=self.now)

    def checked(self, ufrag: str, source: ClientSockaddr = CLIENT) -> Flow:
        """The flow of a check that was answered."""
        flow, packet = self.open(ufrag, source)
        assert self.returned(flow, success(packet)) is None
        return flow

    def connect(self, ufrag: str, source: ClientSockaddr = CLIENT) -> Flow:
        """The current flow of a source."""
        flow = self.checked(ufrag, source)
        assert flow.current
        return flow

    def advance(self, seconds: float, *, talking: tuple[Flow, ...] = ()) -> None:
        """Let time pass, with its timers; the clients of `talking` send media all the while."""
        end = self.now + seconds
        while True:
            for flow in talking:
                self.receive(RTP, flow.source)
            timer = self.table.get_timer()
            if timer is None or timer > end:
                break
            self.now = max(self.now, timer)
            self.table.handle_timer(now=self.now)
        self.now = end

    def events(self) -> list[object]:
        """What has happened since the last call."""
        return [*iter(self.table.next_event, None)]

    def is_empty(self) -> bool:
        """Nothing is kept of anybody."""
        table = self.table
        listener = self.listener
        return not (
            listener.current or listener.flows or table.flow_counts.total or table._by_ufrag
        )
