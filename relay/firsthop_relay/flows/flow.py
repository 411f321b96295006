"""A flow (one client address of one session, and its upstream) and the events of its life."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from firsthop_ice.answered_checks import AnsweredChecks
from firsthop_relay.flows.flow_limits import Prefix
from firsthop_relay.flows.limits import TRANSACTIONS
from firsthop_relay.flows.routes import SocketAddress

ClientSockaddr = tuple[Any, ...]
"""A client's address as `recvfrom` returns it: text, port (for IPv6 also flow label and scope)."""
Ending = Literal["unconfirmed", "idle", "lifetime", "replaced", "socket", "stream"]


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
    answered: AnsweredChecks
    """Shared by the flows of a ufrag."""
    consented_at: float
    """When a check of it was last answered; before the first answer, when it was opened."""
    confirmed: bool = False
    """Whether a check of it was answered."""
    current: bool = False
    """Whether packets of its source that are not STUN are forwarded by this flow."""
    carried: bool = False
    """Whether it is its source's current flow, or was."""
    reclaimed: bool = False
    """Whether it became current again in place of a flow that was opened later."""
    over: bool = False
    """Whether its transceiver has reported that the session is over."""
    taken: int = 0
    """Number of packets accepted from the client; the hot path counts them here."""
    passed: int = 0
    """Number of packets passed from the upstream to the client while unconfirmed."""
    checks: deque[bytes] = field(default_factory=lambda: deque(maxlen=TRANSACTIONS))
    """Transaction ids of forwarded checks; a success response to one confirms the flow."""
    closed: bool = False
    quiet_since: float = 0.0
    taken_before: int = 0
    leg: Any = None
    """The upstream socket, set by `Upstreams`; None until it is open."""
    send: Callable[[bytes], int] = _no_socket
    """Sends one datagram to the upstream; set by `Upstreams`."""
    take: Callable[[int], bytes] = _no_socket
    """Receives one datagram from the upstream, up to the given size; set by `Upstreams`."""
    reply: Callable[[bytes, ClientSockaddr], object] = _no_socket
    """Sends one packet to the client; set by the server."""


class ListenerFlows:
    """The flows of one listening address; a client may have flows at several of them."""

    __slots__ = ("current", "flows")

    def __init__(self) -> None:
        self.current: dict[ClientSockaddr, Flow] = {}
        """The current flow of each source; the hot path looks up nothing else."""
        self.flows: dict[ClientSockaddr, list[Flow]] = {}


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Event: the flow has become its source's current one."""

    flow: Flow
    again: bool
    """Whether it had been confirmed before."""


@dataclass(frozen=True, slots=True)
class Held:
    """Event: the flow was confirmed, but its source's media belong to another session."""

    flow: Flow


@dataclass(frozen=True, slots=True)
class Closed:
    """Event: the flow has ended; its socket can be closed."""

    flow: Flow
    reason: Ending
