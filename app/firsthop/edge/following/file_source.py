"""The source of an edge without a control plane: makes plan, status and keys from a document."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from firsthop.document_files import DocumentFiles, DocumentStamp
from firsthop.edge.following.refusals import Refusals
from firsthop.secret_files import write_secret
from firsthop_steering.feed.guidance import NO_GUIDANCE
from firsthop_steering.feed.snapshot import CredentialKey, KeySet, Plan, Status
from firsthop_steering.plan.admission import admission_problems
from firsthop_steering.plan.document import Document, DocumentError, DocumentFault, warnings_in
from firsthop_steering.plan.model import Transceiver, TransceiverRegion

log = structlog.get_logger(__name__)

LINEAGE = "document"
"""The lineage of plans from documents. A plan's number is the time, in seconds, when the newest of
its files was modified."""
_LAST_S = 253_402_300_799
"""The end of the year 9999, in seconds since 1970. File systems have times before and after."""


class FileSource:
    """A `SnapshotSource` for a YAML document, with keys that this edge made itself."""

    feed = None
    connected_to = ""
    guidance = NO_GUIDANCE
    disk_error = ""

    def __init__(self, path: Path, state_dir: Path, *, allow_loopback: bool = False) -> None:
        self._path = path
        self._allow_loopback = allow_loopback
        self._state_dir = state_dir
        self.plan: Plan | None = None
        self.status: Status | None = None
        self.keys: KeySet | None = None
        self.files: Mapping[Path, DocumentStamp] = {}
        self.refusals = Refusals("document")

    def load(self) -> None:
        """Reads the document and the keys. Raises DocumentError."""
        now = datetime.now(UTC)
        files = DocumentFiles(self._path)
        try:
            self.plan = load_plan(self._path, files, allow_loopback=self._allow_loopback)
        finally:  # a refused file is watched too, as it may be corrected
            self.files = files.stamps
        for warning in warnings_in(self.plan.document):
            log.warning("document.warned", field=warning.field, rule=warning.rule)
        self.status = empty_status(now)
        self.keys = load_keys(self._state_dir, now)
        self.refusals.reason = ""

    async def reload(self) -> None:
        """Load in a thread; if the document is refused, the old one remains in use."""
        try:
            await asyncio.to_thread(self.load)
        except Exception as error:
            self.refusals.add(error, DocumentError)

    def save_pending(self) -> None:
        """Does nothing: the document is on disk already."""

    async def run(self) -> None:
        """Waits until cancelled; `reload` brings the changes."""
        await asyncio.Event().wait()


def load_plan(
    path: Path, files: DocumentFiles | None = None, *, allow_loopback: bool = False
) -> Plan:
    """The plan in the document at `path` and in the zone files that it names.

    `files`, made for the same path, lists afterwards which files were read. Raises DocumentError
    like `load_yaml`, and if the document has what must not enter a configuration, or lacks a wire
    id: without a control plane, nothing assigns one.
    """
    files = files or DocumentFiles(path)

    def also(document: Document) -> Iterator[DocumentFault]:
        yield from admission_problems(document, allow_loopback=allow_loopback)
        yield from _without_wire_id(document)

    try:
        document = files.load(also)
    except OSError as error:
        raise DocumentError([DocumentFault(str(path), f"cannot be read: {error}")]) from None
    made_s = min(max(0, files.modified_ns // 10**9), _LAST_S)
    return Plan(
        number=made_s,
        lineage=LINEAGE,
        created_at=datetime.fromtimestamp(made_s, UTC),
        document=document,
    )


def _without_wire_id(document: Document) -> list[DocumentFault]:
    rule = "must be given: there is no control plane to assign it"
    collections: dict[str, Sequence[TransceiverRegion | Transceiver]] = {
        "transceiver_regions": document.transceiver_regions,
        "transceivers": document.transceivers,
    }
    return [
        DocumentFault(f"{collection}/{each.id}/wire_id", rule)
        for collection, values in collections.items()
        for each in values
        if each.wire_id is None
    ]


def empty_status(now: datetime) -> Status:
    """A status with no measurements: every relay is `unknown`, which does not count as `down`."""
    return Status(number=0, lineage=LINEAGE, created_at=now)


def load_keys(state_dir: Path, now: datetime) -> KeySet:
    """The credential keys of this edge, made on first use: `credential.keys`, `allocator.token`.

    Both files have mode 0600. Relays verify with the keys' `route` part. Raises DocumentError with
    the file if it cannot be read or written.
    """
    try:
        return _load_keys(state_dir, now)
    except (OSError, ValueError) as error:
        rule = str(error).splitlines()[0]
        raise DocumentError([DocumentFault(str(state_dir / "credential.keys"), rule)]) from None


def _load_keys(state_dir: Path, now: datetime) -> KeySet:
    keys_path, token_path = state_dir / "credential.keys", state_dir / "allocator.token"
    if not token_path.exists():
        write_secret(token_path, secrets.token_urlsafe(32))
    if not keys_path.exists():
        key = CredentialKey(
            id=0, route=secrets.token_hex(32), password=secrets.token_hex(32), created_at=now
        )
        made = KeySet(number=1, lineage=LINEAGE, created_at=now, signing=0, keys=(key,))
        write_secret(keys_path, made.model_dump_json(indent=2))
    held = KeySet.model_validate_json(keys_path.read_bytes())
    token = hashlib.sha256(token_path.read_text().strip().encode()).hexdigest()
    return held.model_copy(update={"allocator_tokens": {token: None}})
