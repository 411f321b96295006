"""Updates databases as MaxMind's geoipupdate does: query, download, verify, replace.

Uses the update service's HTTP API: `/geoip/updates/metadata` returns each edition's date and MD5,
`/geoip/databases/<edition>/download` a tar.gz with the `.mmdb` inside. A file is replaced only if
the new one has that digest and is a valid database.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any

from firsthop_geodata.errors import GeodataError
from firsthop_geodata.files import replace_atomically
from firsthop_geodata.mmdb import verify_mmdb

DEFAULT_HOST = "https://updates.maxmind.com"
TIMEOUT_SECONDS = 60.0
MAX_METADATA_BYTES = 1 << 20
MAX_DATABASE_BYTES = 4 << 30
"""Limits what a faulty or hostile server can make us store; the largest edition is below 1 GB."""

_EDITION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class UpdateAccount:
    """Credentials and editions, as in geoipupdate's environment variables."""

    account_id: str
    license_key: str = field(repr=False)
    editions: tuple[str, ...]
    host: str = DEFAULT_HOST

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> UpdateAccount:
        """Read GEOIPUPDATE_ACCOUNT_ID, _LICENSE_KEY, _EDITION_IDS (space-separated) and _HOST.

        ``…_FILE`` variants of the first two name a file with the value. Raises GeodataError with
        the variable that is missing or cannot be read.
        """
        account_id = _setting(environment, "GEOIPUPDATE_ACCOUNT_ID")
        license_key = _setting(environment, "GEOIPUPDATE_LICENSE_KEY")
        editions = tuple(environment.get("GEOIPUPDATE_EDITION_IDS", "").split())
        if not editions:
            raise GeodataError("GEOIPUPDATE_EDITION_IDS", "is not set: which databases?")
        host = environment.get("GEOIPUPDATE_HOST") or DEFAULT_HOST
        return cls(account_id, license_key, editions, host)


@dataclass(frozen=True, slots=True)
class Updated:
    """A new database was installed."""

    edition: str
    path: Path
    date: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The installed database is the newest one; nothing was downloaded."""

    edition: str
    path: Path
    date: str


@dataclass(frozen=True, slots=True)
class UpdateRefused:
    """The update failed; the installed database, if any, stays in use."""

    edition: str
    path: Path
    reason: str


UpdateOutcome = Updated | Unchanged | UpdateRefused


def update_database(
    directory: Path, account: UpdateAccount, *, timeout: float = TIMEOUT_SECONDS
) -> tuple[UpdateOutcome, ...]:
    """Update every edition of the account in ``directory`` as ``<edition>.mmdb``.

    Each edition has its own outcome; a failure does not affect the others. A download fails after
    ``timeout`` seconds in which no byte arrives. Raises GeodataError if the licence key
    must not be sent to the host.
    """
    base = _base_url(account.host)
    outcomes: list[UpdateOutcome] = []
    for edition in account.editions:
        path = directory / f"{edition}.mmdb"
        try:
            outcomes.append(_update(base, account, edition, path, timeout))
        except GeodataError as error:
            outcomes.append(UpdateRefused(edition, path, str(error)))
    return tuple(outcomes)


def _update(
    base: str, account: UpdateAccount, edition: str, path: Path, timeout: float
) -> UpdateOutcome:
    if not _EDITION.fullmatch(edition):
        raise GeodataError(repr(edition), "is not an edition id")
    date, md5 = _newest(base, account, edition, timeout)
    if path.exists() and _md5(path) == md5:
        return Unchanged(edition, path, date)
    query = urllib.parse.urlencode({"date": date.replace("-", ""), "suffix": "tar.gz"})
    url = f"{base}/geoip/databases/{edition}/download?{query}"

    def fill(temporary: Path) -> None:
        _download(url, account, edition, temporary, timeout)
        if _md5(temporary) != md5:
            raise GeodataError(url, "the database does not have the MD5 in the metadata")
        try:
            verify_mmdb(temporary)
        except GeodataError as error:
            raise GeodataError(url, error.rule) from error

    replace_atomically(path, fill)
    return Updated(edition, path, date)


def _newest(base: str, account: UpdateAccount, edition: str, timeout: float) -> tuple[str, str]:
    """The date (YYYY-MM-DD) and MD5 of the newest build."""
    query = urllib.parse.urlencode({"edition_id": edition})
    url = f"{base}/geoip/updates/metadata?{query}"
    try:
        with _request(url, account, timeout) as response:
            document: Any = json.loads(response.read(MAX_METADATA_BYTES))
        found = next(item for item in document["databases"] if item["edition_id"] == edition)
        date, md5 = found["date"], found["md5"].lower()
    except (OSError, HTTPException) as error:
        raise GeodataError(url, _reason(error)) from error
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise GeodataError(url, "the answer is not update metadata for this edition") from error
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", date) or not re.fullmatch(r"[0-9a-f]{32}", md5):
        raise GeodataError(url, "the metadata have no valid date and MD5")
    return date, md5


def _download(url: str, account: UpdateAccount, edition: str, out: Path, timeout: float) -> None:
    """Stream the archive to disk, then extract the database from it."""
    try:
        with tempfile.TemporaryFile(dir=out.parent) as archive:
            with _request(url, account, timeout) as response:
                _copy(response, archive, url)
            archive.seek(0)
            with tarfile.open(fileobj=archive, mode="r:gz") as members:
                for member in members:
                    if member.isfile() and Path(member.name).name == f"{edition}.mmdb":
                        source = members.extractfile(member)
                        if source is not None:
                            with out.open("wb") as target:
                                _copy(source, target, url)
                            return
    except GeodataError:
        raise
    except (OSError, HTTPException) as error:
        raise GeodataError(url, _reason(error)) from error
    except (EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        raise GeodataError(url, f"the archive is corrupt: {error}") from error
    raise GeodataError(url, f"the archive holds no {edition}.mmdb")


def _copy(source: IO[bytes], target: IO[bytes], url: str) -> None:
    copied = 0
    while chunk := source.read(1 << 20):
        copied += len(chunk)
        if copied > MAX_DATABASE_BYTES:
            raise GeodataError(url, f"sends more than {MAX_DATABASE_BYTES} bytes")
        target.write(chunk)


def _request(url: str, account: UpdateAccount, timeout: float) -> IO[bytes]:
    """Open ``url`` with the account's credentials; redirects do not pass them on."""
    request = urllib.request.Request(url)  # noqa: S310 - the scheme is checked by _base_url
    credentials = f"{account.account_id}:{account.license_key}".encode()
    token = base64.b64encode(credentials).decode("ascii")
    request.add_unredirected_header("Authorization", f"Basic {token}")
    request.add_header("User-Agent", "firsthop-geodata")
    opener = urllib.request.build_opener(_SecureRedirects)
    response: IO[bytes] = opener.open(request, timeout=timeout)
    return response


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects (downloads redirect to a storage host), but never to plain HTTP."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        try:
            _base_url(newurl)
        except GeodataError as error:
            raise urllib.error.URLError(str(error)) from error
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _base_url(url: str) -> str:
    """``url`` without trailing slash. Raises GeodataError unless it is HTTPS or loopback HTTP."""
    parts = urllib.parse.urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname)):
        raise GeodataError(url, "is not HTTPS: the licence key must not be sent in clear text")
    return parts.geturl().rstrip("/")


def _is_loopback(host: str | None) -> bool:
    try:
        return ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


def _setting(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value and (file := environment.get(f"{name}_FILE")):
        try:
            value = Path(file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise GeodataError(f"{name}_FILE", f"cannot be read: {error}") from error
    if not value.strip():
        raise GeodataError(name, "is not set")
    return value.strip()


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        hint = ": check the account id and the licence key" if error.code in (401, 403) else ""
        return f"the server answers {error.code} {error.reason}{hint}"
    return f"cannot be fetched: {error or type(error).__name__}"


def _md5(path: Path) -> str:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest()
