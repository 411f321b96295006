"""The credential codec of design §5: what it writes, and that nothing else is taken for it."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta, timezone
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firsthop_ice.ufrag import (
    EPOCH,
    Credential,
    CredentialKeys,
    Decoded,
    RejectedUfrag,
    RouteKeys,
    claimed_expiry,
    decode,
    mint,
    mint_path_credential,
    mint_probe_credential,
    password_for,
    probe_password,
    region_password_key,
)
from firsthop_steering.feed.snapshot import CredentialKey, KeySet

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ICE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
LAST_EXPIRY = EPOCH + ((1 << 24) - 1) * timedelta(seconds=16)


def keyset(signing: int = 5, ids: tuple[int, ...] = (4, 5)) -> KeySet:
    keys = tuple(
        CredentialKey(id=i, route=f"{i:02x}" * 32, password=f"{i + 64:02x}" * 32, created_at=NOW)
        for i in ids
    )
    return KeySet(number=1, lineage="test", created_at=NOW, signing=signing, keys=keys)


KEYS = CredentialKeys.from_keyset(keyset())


def minted(
    *,
    region: int = 77,
    transceiver: int = 9,
    expires_at: datetime = NOW + timedelta(hours=1),
    entropy: bytes = b"entropy",
) -> Credential:
    return mint(
        KEYS, region=region, transceiver=transceiver, expires_at=expires_at, entropy=entropy
    )


@settings(deadline=None)
@given(
    region=st.integers(1, 65535),
    transceiver=st.integers(0, 65535),
    seconds=st.integers(1, 86400 * 365),
    entropy=st.binary(min_size=7, max_size=7),
)
def test_what_is_minted_is_decoded(
    region: int, transceiver: int, seconds: int, entropy: bytes
) -> None:
    """Every field comes back, in 31 and 32 ICE characters."""
    expires_at = NOW + timedelta(seconds=seconds)
    credential = minted(
        region=region, transceiver=transceiver, expires_at=expires_at, entropy=entropy
    )
    assert len(credential.ufrag) == 31
    assert len(credential.password) == 32
    assert set(credential.ufrag + credential.password) <= set(ICE)
    assert decode(credential.ufrag, KEYS.routes, now=NOW) == Decoded(
        version=0,
        key_id=5,
        region=region,
        transceiver=transceiver,
        expires_at=credential.expires_at,
        nonce=entropy,
    )
    assert timedelta(0) <= credential.expires_at - expires_at < timedelta(seconds=16)


def test_the_layout_is_the_documented_one() -> None:
    """A vector computed by hand from design §5: writers in other languages agree on it."""
    expires_at = EPOCH + timedelta(seconds=16 * 0x010203)
    credential = minted(region=0xABCD, transceiver=0x1234, expires_at=expires_at)
    signed = bytes.fromhex("05abcd1234010203") + b"entropy"
    tag = hmac.new(b"\x05" * 32, b"firsthop ufrag v1" + signed, hashlib.sha256).digest()[:8]
    assert credential.ufrag == base64.b64encode(signed + tag).decode().rstrip("=")
    region_key = hmac.new(b"\x45" * 32, b"\xab\xcd", hashlib.sha256).digest()
    text = b"firsthop pwd v1" + credential.ufrag.encode()
    password = base64.b64encode(hmac.new(region_key, text, hashlib.sha256).digest())[:32]
    assert credential.password == password.decode()
    assert credential.ufrag == "BavNEjQBAgNlbnRyb3B5P64b3uEFMec"


def test_any_turned_bit_is_rejected() -> None:
    """All 186 bits count, also the two that carry nothing."""
    ufrag = minted().ufrag
    for index, bit in product(range(31), range(6)):
        turned = ICE[ICE.index(ufrag[index]) ^ 1 << bit]
        forged = ufrag[:index] + turned + ufrag[index + 1 :]
        expected = "tag"
        if index == 30 and bit < 2:
            expected = "not_canonical"
        elif index == 0:  # characters 0 and 1 carry version and key id: vvkkkk kk....
            expected = "version" if bit >= 4 else "unknown_key"
        elif index == 1 and bit >= 4:
            expected = "tag" if bit == 4 else "unknown_key"  # key 4 is known too
        rejected = RejectedUfrag(expected)  # type: ignore[arg-type]
        assert decode(forged, KEYS.routes, now=NOW) == rejected, (index, bit)


@pytest.mark.fuzz
@settings(deadline=None)
@given(st.one_of(st.text(max_size=40), st.binary(max_size=40)))
def test_no_input_raises(junk: str | bytes) -> None:
    """Junk is rejected, never an exception and never accepted."""
    assert isinstance(decode(junk, KEYS.routes, now=NOW), RejectedUfrag)


@pytest.mark.fuzz
@settings(deadline=None)
@given(st.text(alphabet=ICE, min_size=31, max_size=31))
def test_random_ufrags_open_nothing(forged: str) -> None:
    """Without the key nobody guesses a tag."""
    assert isinstance(decode(forged, KEYS.routes, now=NOW), RejectedUfrag)


@pytest.mark.parametrize(
    ("ufrag", "reason"),
    [
        ("", "length"),
        ("A" * 30, "length"),
        ("A" * 32, "length"),
        ("A" * 30 + ":", "alphabet"),
        ("A" * 30 + "=", "alphabet"),
        ("é" * 31, "alphabet"),
        (b"\xff" * 31, "alphabet"),
        ("A" * 30 + "B", "not_canonical"),
        ("/" + "A" * 30, "version"),
        ("A" * 31, "unknown_key"),
    ],
)
def test_each_reason(ufrag: str | bytes, reason: str) -> None:
    """A counter for each, so each is told apart."""
    assert decode(ufrag, KEYS.routes, now=NOW) == RejectedUfrag(reason)  # type: ignore[arg-type]


def test_bytes_and_text_are_the_same_ufrag() -> None:
    ufrag = minted().ufrag
    assert decode(ufrag, KEYS.routes, now=NOW) == decode(ufrag.encode(), KEYS.routes, now=NOW)
    assert password_for(ufrag, b"k" * 32) == password_for(ufrag.encode(), b"k" * 32)


def test_expiry_is_exact_and_the_first_instant_out() -> None:
    credential = minted()
    last = credential.expires_at - timedelta(microseconds=1)
    assert isinstance(decode(credential.ufrag, KEYS.routes, now=last), Decoded)
    late = decode(credential.ufrag, KEYS.routes, now=credential.expires_at)
    assert late == RejectedUfrag("expired")


def test_a_claimed_expiry_needs_no_key() -> None:
    """For those who hold a credential and no key: when to stop using it."""
    credential = minted()
    assert claimed_expiry(credential.ufrag) == credential.expires_at
    assert claimed_expiry(credential.ufrag[:-1]) is None


def test_expiry_takes_any_time_zone() -> None:
    there = (NOW + timedelta(hours=1)).astimezone(timezone(timedelta(hours=9)))
    assert minted(expires_at=there) == minted()


@pytest.mark.parametrize("expires_at", [EPOCH, EPOCH - timedelta(days=1)])
def test_expiry_before_the_epoch_is_refused(expires_at: datetime) -> None:
    with pytest.raises(ValueError, match="after 2026-01-01"):
        minted(expires_at=expires_at)


def test_expiry_range_ends_where_three_bytes_end() -> None:
    assert minted(expires_at=LAST_EXPIRY).expires_at == LAST_EXPIRY
    with pytest.raises(ValueError, match="until 2034-07-04"):
        minted(expires_at=LAST_EXPIRY + timedelta(microseconds=1))


def test_arguments_that_break_a_rule_are_named() -> None:
    with pytest.raises(ValueError, match="time zone"):
        minted(expires_at=NOW.replace(tzinfo=None))
    for region in (-1, 0, 65536):
        with pytest.raises(ValueError, match=f"region wire id {region} "):
            minted(region=region)
    for transceiver in (-1, 65536):
        with pytest.raises(ValueError, match=f"transceiver wire id {transceiver} "):
            minted(transceiver=transceiver)
    for size in (0, 6, 8):
        with pytest.raises(ValueError, match=f"entropy must be 7 bytes, not {size}"):
            minted(entropy=bytes(size))


def test_rotation_signs_with_the_newest_and_accepts_the_old() -> None:
    old = mint(
        CredentialKeys.from_keyset(keyset(signing=4)),
        region=7,
        expires_at=NOW + timedelta(hours=1),
        entropy=b"entropy",
    )
    assert old.key_id == 4
    assert isinstance(decode(old.ufrag, KEYS.routes, now=NOW), Decoded)
    retired = RouteKeys.from_keyset(keyset(ids=(5,)))
    assert decode(old.ufrag, retired, now=NOW) == RejectedUfrag("unknown_key")


def test_a_password_belongs_to_one_ufrag_and_one_region() -> None:
    """A transceiver derives it from its region's key alone, and no other region's key gives it."""
    credential = minted(region=77)
    master = KEYS.masters[5]
    assert password_for(credential.ufrag, region_password_key(master, 77)) == credential.password
    assert password_for(credential.ufrag, region_password_key(master, 78)) != credential.password
    assert minted(region=77, entropy=b"another").password != credential.password


def test_probe_credentials_live_a_day_under_the_route_key_alone() -> None:
    """A relay, which holds no password key, can answer a probe; nobody else's session opens."""
    credential = mint_probe_credential(keyset(), now=NOW, entropy=b"entropy")
    decoded = decode(credential.ufrag, KEYS.routes, now=NOW + timedelta(hours=23, minutes=59))
    assert isinstance(decoded, Decoded)
    assert (decoded.region, decoded.transceiver) == (0, 0)
    assert credential.password == probe_password(credential.ufrag, KEYS.routes.by_id[5])
    assert len(credential.password) == 32
    assert credential.expires_at - NOW < timedelta(hours=24, seconds=16)
    by_master = password_for(credential.ufrag, region_password_key(KEYS.masters[5], 0))
    assert credential.password != by_master


def test_path_credentials_are_a_session_of_their_region_and_last_an_hour_unchanged() -> None:
    """So that a prober's checks stay one flow at a relay; each prober has its own."""

    def made(holder: str = "p-1", region: int = 77, **later: int) -> Credential:
        now = NOW + timedelta(**later)
        return mint_path_credential(keyset(), region=region, holder=holder, now=now)

    first = made()
    decoded = decode(first.ufrag, KEYS.routes, now=NOW + timedelta(hours=24))
    assert isinstance(decoded, Decoded)
    assert (decoded.region, decoded.transceiver) == (77, 0)
    key = region_password_key(KEYS.masters[5], 77)
    assert first.password == password_for(first.ufrag, key)
    assert made(minutes=59 - NOW.minute) == first
    others = [made(minutes=60 - NOW.minute), made("p-2"), made(region=78)]
    assert len({each.ufrag for each in (first, *others)}) == 4


def test_route_keys_travel_as_json() -> None:
    assert RouteKeys.from_json(KEYS.routes.to_json()) == KEYS.routes
    assert RouteKeys.from_json(KEYS.routes.to_json().encode()) == KEYS.routes


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("\udcff", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        ("[]", "is not JSON"),
        ('{"route_keys": []}', "is not JSON"),
        ('{"route_keys": {}}', "at least one"),
        (json.dumps({"route_keys": {"64": "00" * 32}}), "64 is not within"),
        (json.dumps({"route_keys": {"٣": "00" * 32}}), "a key id is a number"),
        (json.dumps({"route_keys": {"-1": "00" * 32}}), "a key id is a number"),
        (json.dumps({"route_keys": {"1": "00" * 31}}), "key 1 is not 64"),
        (json.dumps({"route_keys": {"1": "00" * 32 + "\n"}}), "key 1 is not 64"),
        (json.dumps({"route_keys": {"1": 5}}), "key 1 is not 64"),
    ],
)
def test_bad_key_files_are_refused_with_the_fault(text: str | bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        RouteKeys.from_json(text)


def test_key_sets_that_do_not_hold_together_are_refused() -> None:
    with pytest.raises(ValueError, match="signing key 9"):
        CredentialKeys.from_keyset(keyset(signing=9))
    with pytest.raises(ValueError, match="appears twice"):
        CredentialKeys.from_keyset(keyset(ids=(5, 5)))
    with pytest.raises(ValueError, match="31 bytes"):
        RouteKeys({1: bytes(31)})


def test_secrets_stay_out_of_logs() -> None:
    """Neither keys nor passwords stand in a repr."""
    credential = minted()
    assert credential.password not in repr(credential)
    assert "x05" not in repr(KEYS)
    assert "E" * 8 not in repr(KEYS)
    assert repr(KEYS.routes) == "RouteKeys()"
    assert dataclasses.asdict(credential)["password"] == credential.password
