"""Credentials and messages of TURN: by the letter of RFC 8656, RFC 8489 and what coturn does."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_healthchecks.probes import Failed
from firsthop_healthchecks.probes.turn import judge
from firsthop_ice.stun import ERROR_CODE, StunError, build, parse
from firsthop_ice.turn import (
    NONCE,
    REALM,
    XOR_RELAYED_ADDRESS,
    Challenge,
    TurnCredential,
    TurnKind,
    allocate_request,
    integrity_key,
    probe_credential,
    release_request,
    secrets_file,
    turn_credential,
    turn_secret,
    username_expiry,
)
from firsthop_steering.feed.snapshot import CredentialKey, KeySet

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CREDENTIAL = TurnCredential("1795564800:7", "password")
CHALLENGE = Challenge(b"example.org", b"nonce")
ID = b"transaction1"
KEYS = KeySet(
    number=1,
    lineage="test",
    created_at=NOW,
    signing=2,
    keys=tuple(
        CredentialKey(id=n, route=f"{n:02x}" * 32, password=f"{n + 64:02x}" * 32, created_at=NOW)
        for n in (1, 2)
    ),
)


def error(code: int, phrase: bytes = b"", *more: tuple[int, bytes]) -> bytes:
    value = bytes((0, 0, *divmod(code, 100))) + phrase
    return build(TurnKind.REFUSED, ID, [(ERROR_CODE, value), *more])


CHALLENGED = error(401, b"Unauthorized", (REALM, CHALLENGE.realm), (NONCE, CHALLENGE.nonce))
STALE = error(438, b"Stale Nonce", (REALM, CHALLENGE.realm), (NONCE, b"fresh"))
RELAYED = (XOR_RELAYED_ADDRESS, b"\0\1\0\0\0\0\0\0")
KEY = integrity_key(CREDENTIAL, CHALLENGE)


def test_a_credential_is_what_coturn_computes() -> None:
    """Base64 of HMAC-SHA1 over the username, which is the expiry and a name."""
    secret = turn_secret(b"m" * 32)
    made = turn_credential(secret, expires_at=NOW, name="7")
    assert made.username == f"{int(NOW.timestamp())}:7"
    wanted = hmac.new(secret.encode(), made.username.encode(), hashlib.sha1).digest()
    assert made.password == b64encode(wanted).decode()
    assert made.password not in repr(made)
    assert username_expiry(made.username) == int(NOW.timestamp())


@pytest.mark.parametrize("username", ["", "7", ":7", "x:7", "7:", "-7:x", "٣:x"])
def test_other_usernames_say_no_expiry(username: str) -> None:
    assert username_expiry(username) is None


def test_servers_are_given_the_secrets_of_all_keys() -> None:
    """As lines of coturn's configuration, the signing key's first; never a master."""
    text = secrets_file(KEYS)
    masters = [bytes.fromhex(key.password) for key in KEYS.keys]
    lines = [f"static-auth-secret={turn_secret(master)}" for master in reversed(masters)]
    assert text.splitlines() == ["use-auth-secret", *lines]
    assert not any(key.password in text for key in KEYS.keys)
    probing = probe_credential(KEYS, expires_at=NOW + timedelta(hours=24))
    assert probing.username.endswith(":probe")
    again = turn_credential(
        turn_secret(masters[1]), expires_at=NOW + timedelta(hours=25), name="probe"
    )
    assert probing == again
    later = probe_credential(KEYS, expires_at=NOW + timedelta(hours=24, minutes=59))
    assert probing == later, "a prober's username does not change with every second"


def test_requests_are_signed_once_there_is_a_challenge() -> None:
    """With the key of RFC 8489 §9.2.2, over realm and nonce."""
    bare = parse(allocate_request(ID, CREDENTIAL), kinds=TurnKind)
    assert (bare.kind, bare.integrity_at) == (TurnKind.ALLOCATE, None)
    key = hashlib.md5(b"1795564800:7:example.org:password").digest()
    for packet, kind in (
        (allocate_request(ID, CREDENTIAL, CHALLENGE), TurnKind.ALLOCATE),
        (release_request(ID, CREDENTIAL, CHALLENGE), TurnKind.REFRESH),
    ):
        signed = parse(packet, kinds=TurnKind)
        assert (signed.kind, signed.authentic(key)) == (kind, True)
        assert (signed.get(REALM), signed.get(NONCE)) == (CHALLENGE.realm, CHALLENGE.nonce)


def test_a_server_is_judged_by_what_only_a_living_one_can_say() -> None:
    """The challenge, the relayed address under our credential; a stale nonce is no fault."""
    assert judge(CHALLENGED, CREDENTIAL, None) == CHALLENGE
    assert judge(STALE, CREDENTIAL, CHALLENGE) == Challenge(CHALLENGE.realm, b"fresh")
    success = build(TurnKind.ALLOCATED, ID, [RELAYED], password=KEY)
    assert judge(success, CREDENTIAL, CHALLENGE) is None


@pytest.mark.parametrize(
    ("packet", "challenge", "words"),
    [
        (CHALLENGED, CHALLENGE, "secret"),
        (error(486, b"Allocation Quota Reached"), CHALLENGE, "486 Allocation Quota"),
        (build(TurnKind.ALLOCATED, ID, [RELAYED]), None, "anybody"),
        (build(TurnKind.ALLOCATED, ID, [RELAYED]), CHALLENGE, "MESSAGE-INTEGRITY"),
        (build(TurnKind.ALLOCATED, ID, [RELAYED], password=b"x"), CHALLENGE, "MESSAGE-INTEGRITY"),
        (build(TurnKind.ALLOCATED, ID, [], password=KEY), CHALLENGE, "relayed address"),
        (build(TurnKind.REFRESHED, ID, [], password=KEY), CHALLENGE, "not an Allocate"),
    ],
)
def test_what_a_failing_server_says_is_told(
    packet: bytes, challenge: Challenge | None, words: str
) -> None:
    found = judge(packet, CREDENTIAL, challenge)
    assert isinstance(found, Failed)
    assert words in found.reason


@pytest.mark.fuzz
@given(st.binary(max_size=100), st.integers(0, 60))
def test_hostile_answers_raise_nothing_else(junk: bytes, cut: int) -> None:
    """Junk, and a challenge cut or without its parts."""
    for packet in (junk, CHALLENGED[:cut] + junk, error(401), error(401, b"", (REALM, b"x"))):
        with pytest.raises(StunError):
            judge(packet, CREDENTIAL, None)
