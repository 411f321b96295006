"""A flow (one client address of one session, and its upstream) and the events of its life."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from firsthop_relay.flows.flow_limits import Prefix
from firsthop_relay.flows.limits import TRANSACTIONS
from firsthop_relay.flows.routes import SocketAddress

ClientSockaddr = tuple[Any, ...]
"""As `recvfrom` gives it: address text, port (and flow label, scope for IPv6)."""
Ending = Literal["unconfirmed", "idle", "lifetime", "socket", "stream"]


def _no_socket(*_: Any) -> Any:
    raise OSError("the flow has no socket")


@dataclass(slots=True, eq=False)
class Flow:
    """One client address of one session, and its upstream."""

    listener: ListenerFlows
    source: ClientSockaddr
    ufrag: bytes
    upstream: SocketAddress
    opened_at: float
    prefix: Prefix
    confirmed: bool = False
    current: bool = False
    """Whether packets of its source that are not STUN follow it."""
    taken: int = 0
    """Packets from the client; the hot path counts them here."""
    passed: int = 0
    """Packets from the upstream while unconfirmed."""
    checks: deque[bytes] = field(default_factory=lambda: deque(maxlen=TRANSACTIONS))
    """Ids of forwarded checks; a success response to one makes this flow the current one."""
    closed: bool = False
    quiet_since: float = 0.0
    taken_before: int = 0
    leg: Any = None
    """The upstream socket, which the shell sets; None until it is open."""
    send: Callable[[bytes], int] = _no_socket
    """Sends one datagram to the upstream; set by the shell."""
    take: Callable[[int], bytes] = _no_socket
    """Receives a datagram of the upstream, of so many bytes at most; set by the shell."""
    reply: Callable[[bytes, ClientSockaddr], object] = _no_socket
    """Sends one packet to the client; set by the shell."""


class ListenerFlows:
    """The flows of one listening address; two addresses may have clients of the same address."""

    __slots__ = ("current", "flows")

    def __init__(self) -> None:
        self.current: dict[ClientSockaddr, Flow] = {}
        """By source; the hot path looks up nothing else."""
        self.flows: dict[ClientSockaddr, list[Flow]] = {}


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Event: the flow has become its source's current one."""

    flow: Flow
    again: bool
    """Whether it was confirmed before, and another one of its source was current since."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Event: the flow has ended; its socket can be closed."""

    flow: Flow
    reason: Ending
