"""The answer to an authenticated probe, the only packet that a relay sends by itself. Pure.

It requires a credential that only key holders can mint, and is never longer than the request, so a
relay is of no use as a reflector.
"""

from __future__ import annotations

from firsthop_ice.relay_load import RELAY_LOAD, RelayLoad, load_attribute
from firsthop_ice.stun import StunError, binding_success, parse
from firsthop_relay.flows.drops import Drop


def answer_probe(
    packet: bytes, source: tuple[str, int], password: str, *, load: RelayLoad | None = None
) -> bytes | Drop:
    """A success response of 64 or 76 bytes; the shortest request that gets one has 88.

    If `load` is given and the request has a RELAY-LOAD attribute, the response contains the load:
    76 or 88 bytes, for a request of at least 92. `source` is address text and port. Never raises.
    """
    try:
        request = parse(packet)
    except StunError:
        return Drop.MALFORMED
    if not request.fingerprinted:
        return Drop.NO_FINGERPRINT
    if not request.authentic(password):
        return Drop.INTEGRITY
    if request.not_understood:
        return Drop.NOT_UNDERSTOOD
    if load is None or request.get(RELAY_LOAD) is None:
        return binding_success(request.transaction_id, source, password)
    return binding_success(request.transaction_id, source, password, [load_attribute(load)])
