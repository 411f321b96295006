"""The update client against a local server that plays the vendor, and its faults."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from firsthop_geodata.errors import GeodataError
from firsthop_geodata.update import (
    Unchanged,
    UpdateAccount,
    Updated,
    UpdateRefused,
    update_database,
)

MakeMmdb = Callable[..., Path]
EDITION = "GeoLite2-Country"
RECORD = {"country": {"iso_code": "DE"}}


@dataclass
class Vendor:
    """What the server answers; tests break it piece by piece."""

    database: bytes
    url: str = ""
    key: str = "secret"
    date: str = "2026-11-01"
    md5: str | None = None
    archive: bytes | None = None
    member: str = f"{EDITION}_20261101/{EDITION}.mmdb"
    metadata: bytes | None = None
    redirect: str | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def packed(self) -> bytes:
        if self.archive is not None:
            return self.archive
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for name, content in (("x/COPYRIGHT.txt", b"c"), (self.member, self.database)):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return packed.getvalue()

    def answer(self, path: str, authorization: str | None) -> tuple[int, bytes | str]:
        self.requests.append((path, authorization))
        parts = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/storage":
            return 200, self.packed()
        if authorization != "Basic " + base64.b64encode(f"42:{self.key}".encode()).decode():
            return 401, b"no"
        if parts.path == "/geoip/updates/metadata":
            md5 = self.md5 or hashlib.md5(self.database).hexdigest()
            found = {"edition_id": query["edition_id"], "date": self.date, "md5": md5}
            return 200, self.metadata or json.dumps({"databases": [found]}).encode()
        if parts.path == f"/geoip/databases/{EDITION}/download":
            assert query == {"date": "20261101", "suffix": "tar.gz"}
            if self.redirect:
                return 302, self.redirect
            return 200, self.packed()
        return 404, b"nothing here"


@pytest.fixture
def vendor(make_mmdb: MakeMmdb) -> Iterator[Vendor]:
    """A vendor with one sound database, on a port of its own."""
    path = make_mmdb({"1.0.0.0/8": RECORD}, database_type=EDITION, name="vendor.mmdb")
    content = path.read_bytes()
    path.unlink()
    played = Vendor(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = played.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            if isinstance(body, str):
                self.send_header("Location", body)
                body = b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    played.url = f"http://127.0.0.1:{server.server_port}"
    yield played
    server.shutdown()
    thread.join()
    server.server_close()


def account(vendor: Vendor, *editions: str) -> UpdateAccount:
    return UpdateAccount("42", "secret", editions or (EDITION,), vendor.url)


def test_a_new_database_is_fetched_once(vendor: Vendor, tmp_path: Path) -> None:
    """Fetched, put in place, and not downloaded again while its MD5 is the newest."""
    path = tmp_path / "db" / f"{EDITION}.mmdb"
    assert update_database(path.parent, account(vendor)) == (Updated(EDITION, path, "2026-11-01"),)
    assert path.read_bytes() == vendor.database
    vendor.requests.clear()
    assert update_database(path.parent, account(vendor)) == (
        Unchanged(EDITION, path, "2026-11-01"),
    )
    assert len(vendor.requests) == 1
    path.write_bytes(b"damaged")
    assert isinstance(update_database(path.parent, account(vendor))[0], Updated)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_redirects_do_not_carry_the_licence_key(vendor: Vendor, tmp_path: Path) -> None:
    """The vendor hands downloads to a storage host; it gets no credentials."""
    vendor.redirect = vendor.url + "/storage"
    assert isinstance(update_database(tmp_path, account(vendor))[0], Updated)
    assert vendor.requests[-1] == ("/storage", None)


def _truncated(vendor: Vendor) -> None:
    vendor.archive = vendor.packed()[:-40]


def _flipped(vendor: Vendor) -> None:
    packed = bytearray(vendor.packed())
    packed[len(packed) // 2] ^= 0xFF
    vendor.archive = bytes(packed)


def _rubbish_database(vendor: Vendor) -> None:
    vendor.database = b"rubbish" * 1000


def _set(**changes: Any) -> Callable[[Vendor], None]:
    def change(vendor: Vendor) -> None:
        for name, value in changes.items():
            setattr(vendor, name, value)

    return change


FAULTS: dict[str, tuple[Callable[[Vendor], None], str]] = {
    "wrong key": (_set(key="other"), "401"),
    "wrong digest": (_set(md5="0" * 32), "MD5"),
    "truncated archive": (_truncated, "corrupt"),
    "flipped archive": (_flipped, ""),
    "no archive": (_set(archive=b"hello"), "corrupt"),
    "empty archive": (_set(archive=b""), "corrupt"),
    "other member": (_set(member="x/Other.mmdb"), f"holds no {EDITION}.mmdb"),
    "rubbish with its own digest": (_rubbish_database, "valid MaxMind DB"),
    "metadata no JSON": (_set(metadata=b"<html>"), "not update metadata"),
    "metadata of another shape": (_set(metadata=b'{"databases": [1]}'), "not update metadata"),
    "metadata of no edition": (_set(metadata=b'{"databases": []}'), "not update metadata"),
    "a date that is a path": (_set(date="../../etc"), "no valid date"),
    "redirect to plain HTTP": (_set(redirect="http://192.0.2.1/x"), "not HTTPS"),
    "redirect to a file": (_set(redirect="file:///etc/passwd"), "not allowed"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_old_database_survives_every_fault(vendor: Vendor, tmp_path: Path, fault: str) -> None:
    """Whatever the server does, the outcome is Refused with a reason and the old file stays."""
    damage, reason = FAULTS[fault]
    damage(vendor)
    path = tmp_path / f"{EDITION}.mmdb"
    path.write_bytes(b"the old one")
    (outcome,) = update_database(tmp_path, account(vendor))
    assert isinstance(outcome, UpdateRefused)
    assert reason in outcome.reason
    assert "secret" not in outcome.reason
    assert path.read_bytes() == b"the old one"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_one_edition_does_not_stop_another(vendor: Vendor, tmp_path: Path) -> None:
    """Unknown and malformed editions are refused; the good one between them is fetched."""
    editions = ("GeoLite2-None", EDITION, "../../evil", "a b")
    outcomes = update_database(tmp_path, account(vendor, *editions))
    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [UpdateRefused, Updated, UpdateRefused, UpdateRefused]
    assert [entry.name for entry in tmp_path.iterdir()] == [f"{EDITION}.mmdb"]


def test_nobody_there(vendor: Vendor, tmp_path: Path) -> None:
    """A refused connection is an outcome, too."""
    gone = UpdateAccount("42", "secret", (EDITION,), "http://127.0.0.1:1")
    (outcome,) = update_database(tmp_path, gone)
    assert isinstance(outcome, UpdateRefused)
    assert "cannot be fetched" in outcome.reason


@pytest.mark.parametrize("host", ["http://updates.example", "ftp://127.0.0.1", "file:///etc"])
def test_the_key_never_travels_in_clear(tmp_path: Path, host: str) -> None:
    """Plain HTTP is for this machine only."""
    with pytest.raises(GeodataError, match="not HTTPS"):
        update_database(tmp_path, UpdateAccount("42", "secret", (EDITION,), host))


def test_account_from_the_environment(tmp_path: Path) -> None:
    """geoipupdate's variables, their _FILE forms, and what is said when one is missing."""
    key = tmp_path / "key"
    key.write_text("secret\n")
    environment = {
        "GEOIPUPDATE_ACCOUNT_ID": "42",
        "GEOIPUPDATE_LICENSE_KEY_FILE": str(key),
        "GEOIPUPDATE_EDITION_IDS": "GeoLite2-City  GeoLite2-ASN",
    }
    found = UpdateAccount.from_environment(environment)
    assert found.license_key == "secret"
    assert found.editions == ("GeoLite2-City", "GeoLite2-ASN")
    assert found.host.startswith("https://")
    assert "secret" not in repr(found)
    for name in environment:
        with pytest.raises(GeodataError, match="GEOIPUPDATE_"):
            UpdateAccount.from_environment({k: v for k, v in environment.items() if k != name})
