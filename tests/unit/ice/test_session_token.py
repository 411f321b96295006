"""Names of sessions and signatures of calls: who can make them, and who cannot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_ice.region_keys import RegionKeys
from firsthop_ice.session_token import (
    SIGNATURE_LENGTH,
    TOKEN_LENGTH,
    call_is_genuine,
    make_token,
    read_token,
    sign_call,
)
from firsthop_ice.ufrag import CredentialKeys, claims, mint, region_password_key
from firsthop_steering.feed.snapshot import CredentialKey, KeySet

NOW = datetime(2026, 11, 24, tzinfo=UTC)
KEYSET = KeySet(
    number=1,
    lineage="test",
    created_at=NOW,
    signing=5,
    keys=tuple(
        CredentialKey(id=n, route=f"{n:02x}" * 32, password=f"{n + 64:02x}" * 32, created_at=NOW)
        for n in (4, 5)
    ),
)
KEYS = CredentialKeys.from_keyset(KEYSET)
CREDENTIAL = mint(
    KEYS, region=7, transceiver=9, expires_at=NOW + timedelta(hours=1), entropy=b"entropy"
)
KEY = region_password_key(KEYS.masters[5], 7)
TOKEN = make_token(CREDENTIAL.ufrag, KEY)


def test_a_token_names_the_route_of_its_session() -> None:
    """Anybody can read it; only the holder of the region's key can prove it."""
    name = read_token(TOKEN)
    assert name is not None
    assert len(TOKEN) == TOKEN_LENGTH
    assert name.ufrag == CREDENTIAL.ufrag
    assert (name.claimed.region, name.claimed.transceiver, name.claimed.key_id) == (7, 9, 5)
    assert name.genuine(KEY)
    assert not name.genuine(region_password_key(KEYS.masters[5], 8))
    assert not name.genuine(region_password_key(KEYS.masters[4], 7))


@pytest.mark.fuzz
@given(st.integers(0, TOKEN_LENGTH - 1), st.sampled_from("AQgw-_09"))
def test_no_other_token_passes(place: int, letter: str) -> None:
    """Every changed character is refused or not genuine."""
    forged = TOKEN[:place] + letter + TOKEN[place + 1 :]
    name = read_token(forged)
    assert forged == TOKEN or name is None or not name.genuine(KEY)


@pytest.mark.fuzz
@given(st.text(max_size=60))
def test_no_text_makes_it_raise(junk: str) -> None:
    """Paths are anybody's text."""
    assert read_token(junk) is None or len(junk) == TOKEN_LENGTH


def test_a_call_is_signed_as_a_whole() -> None:
    """Method, token, new ufrag and body: each changed, or another key, and it is not genuine."""
    call = ("PATCH", TOKEN, CREDENTIAL.ufrag, b"body")
    signature = sign_call(KEY, *call)
    assert len(signature) == SIGNATURE_LENGTH
    assert call_is_genuine(signature, KEY, *call)
    changed = [
        ("PUT", *call[1:]),
        (call[0], TOKEN[::-1], *call[2:]),
        (*call[:2], "", b"body"),
        (*call[:3], b"bod"),
    ]
    assert not any(call_is_genuine(signature, KEY, *each) for each in changed)
    assert not call_is_genuine(signature, b"x" * 32, *call)
    assert not call_is_genuine("", KEY, *call)
    assert not call_is_genuine("é", KEY, *call)


def test_a_region_derives_the_passwords_of_its_own_ufrags_alone() -> None:
    """With every key of the set, also an old one; never those of another region."""
    keys = RegionKeys.from_keyset(KEYSET, 7)
    assert keys.password(CREDENTIAL.ufrag) == CREDENTIAL.password
    elsewhere = mint(KEYS, region=8, expires_at=NOW + timedelta(hours=1), entropy=b"entropy")
    assert keys.password(elsewhere.ufrag) is None
    assert keys.password("nonsense") is None
    rotated = RegionKeys(7, 4, {4: keys.by_id[4]})
    assert rotated.password(CREDENTIAL.ufrag) is None
    claimed = claims(CREDENTIAL.ufrag)
    assert claimed is not None
    assert claimed.expires_at == CREDENTIAL.expires_at


def test_region_keys_go_into_a_file_and_back() -> None:
    """And they are not the master's."""
    keys = RegionKeys.from_keyset(KEYSET, 7)
    assert RegionKeys.from_json(keys.to_json()) == keys
    assert KEYSET.keys[0].password not in keys.to_json()
    assert "password_keys" not in repr(keys)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "JSON"),
        ("[]", "JSON"),
        ('{"region": 7, "signing": 1}', "JSON"),
        ('{"region": true, "signing": 1, "password_keys": {}}', "region"),
        ('{"region": 7, "signing": "1", "password_keys": {}}', "signing"),
        ('{"region": 0, "signing": 1, "password_keys": {"1": "' + "ab" * 32 + '"}}', "region"),
        ('{"region": 7, "signing": 2, "password_keys": {"1": "' + "ab" * 32 + '"}}', "signing"),
        ('{"region": 7, "signing": 1, "password_keys": {}}', "at least one"),
        ('{"region": 7, "signing": 1, "password_keys": {"x": "' + "ab" * 32 + '"}}', "key id"),
        ('{"region": 7, "signing": 1, "password_keys": {"64": "' + "ab" * 32 + '"}}', "key id"),
        ('{"region": 7, "signing": 1, "password_keys": {"1": "AB"}}', "hex"),
    ],
)
def test_a_broken_key_file_names_its_fault(text: str, rule: str) -> None:
    """And never a secret."""
    with pytest.raises(ValueError, match=rule):
        RegionKeys.from_json(text)
