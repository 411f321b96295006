"""The message that ends a session is recognised, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_ice.session_over import SESSION_OVER, is_session_over, session_over_indication
from firsthop_ice.stun import StunMessageType, build

MESSAGE = session_over_indication(bytes(range(12)))


def test_the_message_is_recognised() -> None:
    assert is_session_over(MESSAGE)


def test_other_messages_are_not() -> None:
    """A keepalive (RFC 8445 §11), and requests and answers with the same attribute."""
    assert not is_session_over(build(StunMessageType.INDICATION, bytes(12)))
    for kind in (StunMessageType.REQUEST, StunMessageType.SUCCESS, StunMessageType.ERROR):
        assert not is_session_over(build(kind, bytes(12), [(SESSION_OVER, b"")]))


@pytest.mark.fuzz
@given(st.integers(0, len(MESSAGE) * 8 - 1))
def test_a_turned_bit_is_noticed(bit: int) -> None:
    packet = bytearray(MESSAGE)
    packet[bit // 8] ^= 1 << bit % 8
    assert not is_session_over(bytes(packet))


@pytest.mark.fuzz
@given(st.binary(max_size=100))
def test_junk_is_not(junk: bytes) -> None:
    assert not is_session_over(junk)
    assert not is_session_over(MESSAGE[:8] + junk)
