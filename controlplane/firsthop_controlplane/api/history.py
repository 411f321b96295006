"""Endpoints of whole documents and their history: change sets, revisions, audit entries."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import AwareDatetime, Field
from sqlalchemy import select
from sqlalchemy.orm import defer

from firsthop_controlplane.access.tokens import OPERATORS, VIEWERS
from firsthop_controlplane.api.etags import etag, require
from firsthop_controlplane.api.operations import Calling, Forcing, Operation, answer
from firsthop_controlplane.api.pages import Page, before_number, page_of
from firsthop_controlplane.api.steering import Warned
from firsthop_controlplane.bodies.documents import Changeset
from firsthop_controlplane.configuration.differences import Difference
from firsthop_controlplane.configuration.revisions import ChangeOutcome
from firsthop_controlplane.errors import not_found
from firsthop_controlplane.store.ledger import AuditRow, RevisionRow
from firsthop_steering.plan.document import Document, warnings_in
from firsthop_steering.whatif.simulation import Simulation
from firsthop_zones.model import Model

HIGHEST_NUMBER = 2**63 - 1


class ObjectChange(Model):
    """An object that the change created, changed or deleted."""

    object: str
    """Its path, like `regions/fra`."""
    action: str
    """created, changed or deleted."""
    fields: tuple[str, ...]
    before: dict[str, Any] | None
    after: dict[str, Any] | None


class Applied(Model):
    """The result of a change set, or of a restored revision."""

    revision: int | None
    """The revision that it made; null if nothing differed, or on a dry run."""
    dry_run: bool
    changes: tuple[ObjectChange, ...]
    warnings: tuple[Warned, ...]
    """About the configuration after the change: name servers without an address."""
    effects: tuple[Simulation, ...] | None
    """How the clients of each affected service move; null if there is no geo data."""


class RevisionEntry(Model):
    """A revision in the list."""

    number: int
    parent: int
    author: str
    message: str
    created_at: AwareDatetime
    digest: str


class Revision(RevisionEntry):
    """A revision with the whole document."""

    document: Document


class AuditEntry(Model):
    """One audited action: who changed which object, and how."""

    id: int
    at: AwareDatetime
    author: str
    address: str | None
    request: str | None
    action: str
    object: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    revision: int | None


class AuditQuery(Page):
    """Which audit entries to list."""

    object: str | None = Field(default=None, max_length=1024)
    """Only entries of this object, like `regions/fra`."""
    revision: int | None = Field(default=None, ge=0, le=HIGHEST_NUMBER)


def _change(each: Difference) -> ObjectChange:
    return ObjectChange(
        object=each.object,
        action=each.action,
        fields=tuple(each.fields()),
        before=each.before,
        after=each.after,
    )


def _applied(outcome: ChangeOutcome[None], *, dry_run: bool) -> web.Response:
    warnings = warnings_in(outcome.document)
    value = Applied(
        revision=outcome.revision,
        dry_run=dry_run,
        changes=tuple(_change(each) for each in outcome.changes),
        warnings=tuple(Warned(field=each.field, rule=each.rule) for each in warnings),
        effects=outcome.effects,
    )
    return answer(value, status=200 if outcome.revision is None else 201)


async def _changeset(calling: Calling) -> web.Response:
    changeset = calling.read(Changeset)
    tags = calling.request.headers.getall("If-Match", [])
    outcome = await calling.deps.revisions.apply(
        changeset.document,
        calling.actor,
        message=changeset.message,
        dry_run=changeset.dry_run,
        force=changeset.force,
        base=(lambda newest: require(tags, newest)) if tags else None,
    )
    await calling.deps.took_effect()
    return _applied(outcome, dry_run=changeset.dry_run)


async def _document(calling: Calling) -> web.Response:
    newest = select(RevisionRow).order_by(RevisionRow.number.desc()).limit(1)
    async with calling.deps.revisions.session() as session:
        row = await session.scalar(newest)
    # From one row: a revision could be committed between two reads of the tables.
    headers = {"ETag": etag(row.number if row else 0)}
    return answer(Document.model_validate(row.document) if row else Document(), headers=headers)


async def _revisions(calling: Calling) -> web.Response:
    page: Page = calling.query
    query = select(RevisionRow).options(defer(RevisionRow.document))
    async with calling.deps.revisions.session() as session:
        rows = await session.scalars(before_number(query, RevisionRow.number, page))
        items = [(str(row.number), _fields(RevisionEntry, row)) for row in rows]
    return page_of(items, page)


def _fields(model: type[Model], row: object) -> Model:
    return model.model_validate({name: getattr(row, name) for name in model.model_fields})


def _number(calling: Calling) -> int:
    text = calling.part("number")
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise not_found("revisions are numbered from 1")
    return int(text)


async def _revision(calling: Calling) -> web.Response:
    number = _number(calling)
    async with calling.deps.revisions.session() as session:
        row = await session.get(RevisionRow, number)
        if row is None:
            raise not_found(f"there is no revision {number}")
        return answer(_fields(Revision, row))


async def _restore(calling: Calling) -> web.Response:
    outcome = await calling.deps.revisions.restore(
        _number(calling), calling.actor, force=calling.query.force
    )
    await calling.deps.took_effect()
    return _applied(outcome, dry_run=False)


async def _audit(calling: Calling) -> web.Response:
    page: AuditQuery = calling.query
    query = select(AuditRow)
    if page.object is not None:
        query = query.where(AuditRow.object == page.object)
    if page.revision is not None:
        query = query.where(AuditRow.revision == page.revision)
    async with calling.deps.revisions.session() as session:
        rows = await session.scalars(before_number(query, AuditRow.id, page))
        items = [(str(row.id), _audit_entry(row)) for row in rows]
    return page_of(items, page)


def _audit_entry(row: AuditRow) -> AuditEntry:
    values = {name: getattr(row, name) for name in AuditEntry.model_fields}
    address = None if row.address is None else str(row.address)
    return AuditEntry.model_validate(values | {"address": address})


OPERATIONS = (
    Operation(
        method="GET", path="/v1/document", name="document", tag="history", roles=VIEWERS,
        summary="The whole configuration", call=_document, answer=Document, etag=True,
    ),
    Operation(
        method="POST", path="/v1/changesets", name="changeset", tag="history", roles=OPERATORS,
        summary="Replace the whole configuration with a document", call=_changeset,
        body=Changeset, large=True, answer=Applied, status=201, if_match="may",
        refusals=(409, 422),
    ),
    Operation(
        method="GET", path="/v1/revisions", name="revisions", tag="history", roles=VIEWERS,
        summary="Every accepted change, newest first", call=_revisions, query=Page,
        answer=RevisionEntry, listed=True,
    ),
    Operation(
        method="GET", path="/v1/revisions/{number}", name="revision", tag="history",
        roles=VIEWERS, summary="One revision, with its document", call=_revision, answer=Revision,
        refusals=(404,),
    ),
    Operation(
        method="POST", path="/v1/revisions/{number}/restore", name="restore", tag="history",
        roles=OPERATORS, summary="Make a new revision with an old one's document", call=_restore,
        query=Forcing, answer=Applied, status=201, refusals=(404, 409, 422),
    ),
    Operation(
        method="GET", path="/v1/audit", name="audit", tag="history", roles=VIEWERS,
        summary="Audited actions, newest first", call=_audit, query=AuditQuery, answer=AuditEntry,
        listed=True,
    ),
)  # fmt: skip
