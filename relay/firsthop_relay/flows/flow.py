"""A flow: one client address of one session and its upstream, and what may happen to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from firsthop_relay.flows.flow_limits import Prefix
from firsthop_relay.flows.limits import TRANSACTIONS
from firsthop_relay.flows.routes import SocketAddress

ClientSockaddr = tuple[Any, ...]
"""What the kernel gives with a datagram: address text, port (and flow label, scope for IPv6)."""
Ending = Literal["unconfirmed", "idle", "lifetime", "socket", "stream"]


def _no_socket(*_: Any) -> Any:
    raise OSError("the flow has no socket")


@dataclass(slots=True, eq=False)
class Flow:
    """One client address of one session, and its upstream."""

    lane: Lane
    source: ClientSockaddr
    ufrag: bytes
    upstream: SocketAddress
    opened_at: float
    prefix: Prefix
    confirmed: bool = False
    current: bool = False
    """Whether it carries what is not STUN."""
    taken: int = 0
    """Packets from the client; the hot path counts them here."""
    passed: int = 0
    """Packets from the upstream while unconfirmed."""
    checks: deque[bytes] = field(default_factory=lambda: deque(maxlen=TRANSACTIONS))
    """Transaction ids whose success would make it the current one."""
    closed: bool = False
    quiet_since: float = 0.0
    taken_before: int = 0
    leg: Any = None
    """What the shell keeps; None until it has opened the socket."""
    send: Callable[[bytes], int] = _no_socket
    """The shell's: one datagram to the upstream."""
    take: Callable[[int], bytes] = _no_socket
    """The shell's: the next datagram of the upstream, of so many bytes at most."""
    reply: Callable[[bytes, ClientSockaddr], object] = _no_socket
    """The shell's: one packet to the client."""


class Lane:
    """The flows of one listening address; two addresses may have clients of the same address."""

    __slots__ = ("current", "flows")

    def __init__(self) -> None:
        self.current: dict[ClientSockaddr, Flow] = {}
        """The hot path's one look-up."""
        self.flows: dict[ClientSockaddr, list[Flow]] = {}


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The flow is its source's current one."""

    flow: Flow
    again: bool
    """Whether it was confirmed before, and another one of its source was current since."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The flow is no more; its socket can go."""

    flow: Flow
    reason: Ending
