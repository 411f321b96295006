"""Secrets: files that only their owner reads, sealed keys, tokens that are known by digest."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from firsthop_controlplane.access.keyfiles import BadKeyFile, master_key, signing_key, write_private
from firsthop_controlplane.access.keyring import Keyring, KeysCannotBeOpened
from firsthop_controlplane.access.tokens import (
    Principal,
    TokenBook,
    TokenDraft,
    new_row,
    new_secret,
)
from firsthop_controlplane.configuration.actor import peer_address
from firsthop_controlplane.configuration.differences import Difference, differences, summary
from firsthop_controlplane.errors import ControlPlaneError
from firsthop_controlplane.store.engine import BadDatabaseUrl, bad_value, database_url, unavailable
from firsthop_controlplane.store.ledger import KeyRow
from firsthop_steering.plan.document import Document
from firsthop_steering.plan.model import Region

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def test_key_files_are_private_and_stay_what_they_are(tmp_path: Path) -> None:
    """Made at the first look; the public part is readable and belongs to the private one."""
    assert master_key(tmp_path) == master_key(tmp_path)
    public = signing_key(tmp_path, tmp_path).public_key().public_bytes_raw().hex()
    assert (tmp_path / "snapshot.pub").read_text().strip() == public
    (tmp_path / "snapshot.pub").write_text("other")
    signing_key(tmp_path, tmp_path)
    assert (tmp_path / "snapshot.pub").read_text().strip() == public
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"master.key": 0o600, "snapshot.key": 0o600, "snapshot.pub": 0o644}


def test_of_many_first_starts_one_makes_the_key(tmp_path: Path) -> None:
    """All of them use the same."""
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: master_key(tmp_path), range(32)))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["master.key"]


@pytest.mark.parametrize("content", ["", "zz", "00" * 31, "00" * 33])
def test_a_key_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    """It is not overwritten: what was sealed with the lost key would be lost too."""
    (tmp_path / "master.key").write_text(content)
    with pytest.raises(BadKeyFile, match="64 hex digits"):
        master_key(tmp_path)
    assert (tmp_path / "master.key").read_text() == content


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    """No draft is left behind, and an existing file may be kept."""
    path = tmp_path / "deep" / "file"
    assert write_private(path, "one")
    assert not write_private(path, "two", replace=False)
    assert path.read_text() == "one"
    assert write_private(path, "three")
    assert [each.name for each in path.parent.iterdir()] == ["file"]


def _key(sealed: bytes | None, generation: int = 3) -> KeyRow:
    return KeyRow(generation=generation, id=3, sealed=sealed, created_at=T0)


def test_keys_open_under_their_master_key_and_in_their_place_only() -> None:
    """Another master key, another generation, a flipped bit or nothing at all: refused."""
    ring = Keyring(bytes(32))
    sealed = ring.seal(3, "11" * 32, "22" * 32)
    assert b"11" * 32 not in sealed
    opened = ring.open(_key(sealed))
    assert (opened.id, opened.route, opened.password) == (3, "11" * 32, "22" * 32)
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for other, row in [
        (Keyring(b"x" * 32), _key(sealed)),
        (ring, _key(sealed, generation=4)),
        (ring, _key(flipped)),
        (ring, _key(None)),
    ]:
        with pytest.raises(KeysCannotBeOpened, match=r"master\.key"):
            other.open(row)


def test_a_token_is_found_by_its_secret_alone() -> None:
    """Neither its id nor its digest opens anything; odd characters are just unknown."""
    secret = new_secret()
    row = new_row(TokenDraft(name="x", role="viewer"), secret, "me", T0)
    book = TokenBook("of replicas")
    book.replace([row])
    found = book.find(secret)
    assert found is not None
    assert (found.name, found.role) == ("x", "viewer")
    replica = book.find("of replicas")
    assert replica is not None
    assert replica.role == "replica"
    for other in (row.id, row.digest.hex(), secret[:-1], "\udcff", ""):
        assert book.find(other) is None
    assert Principal("i", "n", "viewer", None, T0).valid(T0 - timedelta(seconds=1))
    assert not Principal("i", "n", "viewer", None, T0).valid(T0)


def test_database_urls_as_people_write_them() -> None:
    """libpq's and Heroku's forms are taken, other databases and nonsense are refused by name."""
    for text in ("postgres://u@h/d", "postgresql://u@h/d", "postgresql+psycopg://u@h/d"):
        assert database_url(text).render_as_string() == "postgresql+asyncpg://u@h/d"
    assert database_url("postgresql://h/d?sslmode=require").query == {"ssl": "require"}
    for text in ("sqlite:///x", "nonsense", ""):
        with pytest.raises(BadDatabaseUrl):
            database_url(text)
    assert issubclass(BadDatabaseUrl, ControlPlaneError)


def test_errors_of_the_network_mean_later_and_others_do_not() -> None:
    """A refused connection is 503; a fault of ours is not hidden behind it."""
    assert unavailable(ConnectionRefusedError())
    assert unavailable(TimeoutError())
    assert not unavailable(ValueError())
    assert not bad_value(ValueError())


def test_differences_name_objects_and_fields() -> None:
    """And a long list is told shortly."""
    one = Document(regions=(Region(id="a", latitude=1, longitude=2),))
    two = Document(regions=(Region(id="a", latitude=1, longitude=3, weight=5),))
    (changed,) = differences(one, two)
    assert (changed.action, changed.fields()) == ("changed", ["longitude", "weight"])
    assert str(changed) == "regions/a: longitude, weight changed"
    assert [each.action for each in differences(one, Document())] == ["deleted"]
    assert differences(one, one) == ()
    many = tuple(Difference(f"regions/{number}", None, {}) for number in range(5))
    assert summary(many) == "regions/0 created; regions/1 created; regions/2 created; and 2 more"


@pytest.mark.parametrize(
    ("remote", "address"),
    [("127.0.0.1", "127.0.0.1"), ("fe80::1%eth0", "fe80::1"), ("", "None"), (None, "None")],
)
def test_peers_have_an_address_or_none(remote: str | None, address: str) -> None:
    """A Unix socket's peer has none."""
    assert str(peer_address(remote)) == address
