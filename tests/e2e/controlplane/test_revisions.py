"""History: every accepted change is a revision with its audit, in one transaction, or nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from firsthop_steering.plan.document import Document

pytestmark = pytest.mark.database

FRA = {"id": "fra", "latitude": 50.11, "longitude": 8.68}
MEDIA = {"id": "eu", "latitude": 50, "longitude": 8}
ZONE = {
    "apex": "edge.example.",
    "primary": "ns1.edge.example.",
    "contact": "ops.edge.example.",
    "name_servers": ["ns1.edge.example."],
    "records": [
        {"owner": "a.edge.example.", "type": "A", "rdata": "192.0.2.1"},
        {"owner": "a.edge.example.", "type": "A", "rdata": "192.0.2.2"},
    ],
}
DOCUMENT: dict[str, Any] = {
    "regions": [FRA, FRA | {"id": "ams"}],
    "relays": [
        {"id": "fra-1", "region": "fra", "ipv4": "127.0.10.1"},
        {"id": "ams-1", "region": "ams", "ipv4": "127.0.10.2", "ipv6": "2001:db8::2"},
    ],
    "transceiver_regions": [MEDIA],
    "transceivers": [{"id": "eu-1", "region": "eu", "host": "127.0.20.1", "port": 4000}],
    "zones": [ZONE],
    "services": [{"id": "relay", "name": "relay.edge.example.", "regions": ["fra", "ams"]}],
    "overrides": [
        {"id": "lan", "cidr": "10.0.0.0/8", "regions": ["ams"], "mode": "only"},
        {"id": "de", "country": "DE", "regions": ["fra"], "mode": "prefer", "service": "relay"},
    ],
}


async def _apply(api: Any, document: dict[str, Any], **more: Any) -> Any:
    return await api.call("POST", "/v1/changesets", {"document": document, **more})


async def _newest(api: Any) -> int:
    items = (await api.get("/v1/revisions")).body["items"]
    return items[0]["number"] if items else 0


@pytest.mark.parametrize("collection", ["regions", "relays", "services"])
async def test_an_id_that_occurs_twice_is_refused(api: Any, collection: str) -> None:
    """Else the last one would win, whatever the first one says."""
    items = DOCUMENT[collection]
    refused = await _apply(api, DOCUMENT | {collection: [*items, items[0]]})
    assert refused.status == 422, refused
    assert [*refused.rules] == [f"{collection}/{items[0]['id']}"]
    assert await _newest(api) == 0


async def test_a_document_applies_whole_and_exports_as_it_is(api: Any) -> None:
    """Twelve objects in one revision; what is exported applies again and changes nothing."""
    made = await _apply(api, DOCUMENT, message="the first")
    assert (made.status, made.body["revision"]) == (201, 1)
    assert {each["action"] for each in made.body["changes"]} == {"created"}
    assert len(made.body["changes"]) == 12
    exported = (await api.get("/v1/document")).body
    assert Document.model_validate(exported).canonical() == Document(**exported).canonical()
    again = await _apply(api, exported)
    assert (again.status, again.body["revision"], again.body["changes"]) == (200, None, [])
    assert await _newest(api) == 1
    revision = (await api.get("/v1/revisions/1")).body
    assert revision["document"] == exported
    assert revision["digest"] == Document.model_validate(exported).digest()
    assert (revision["author"], revision["message"], revision["parent"]) == (
        "admin",
        "the first",
        0,
    )


async def test_a_dry_run_tells_and_does_nothing(api: Any) -> None:
    """The diff of a dry run is the diff of the real run."""
    await _apply(api, DOCUMENT)
    changed = DOCUMENT | {"relays": DOCUMENT["relays"][:1], "overrides": []}
    changed["regions"] = [FRA | {"weight": 3}, DOCUMENT["regions"][1]]
    dry = await _apply(api, changed, dry_run=True)
    assert (dry.status, dry.body["revision"], await _newest(api)) == (200, None, 1)
    real = await _apply(api, changed)
    assert real.body["changes"] == dry.body["changes"]
    assert [(each["action"], each["object"], each["fields"]) for each in real.body["changes"]] == [
        ("changed", "regions/fra", ["weight"]),
        ("deleted", "relays/ams-1", []),
        ("deleted", "overrides/de", []),
        ("deleted", "overrides/lan", []),
    ]


async def test_two_relays_may_swap_their_addresses(api: Any) -> None:
    """Rules between objects hold after a change set, not in the middle of it."""
    await _apply(api, DOCUMENT)
    one, two = DOCUMENT["relays"]
    swapped = [one | {"ipv4": two["ipv4"]}, two | {"ipv4": one["ipv4"]}]
    assert (await _apply(api, DOCUMENT | {"relays": swapped})).status == 201


async def test_a_refused_document_leaves_nothing(api: Any) -> None:
    """One broken reference among many objects: 422 naming it, no revision, no audit, no object."""
    before = (await api.get("/v1/audit")).body
    broken = DOCUMENT | {"regions": [FRA]}
    refused = await _apply(api, broken)
    assert refused.status == 422
    assert "relays/ams-1/region" in refused.rules
    twice = DOCUMENT | {"zones": [ZONE | {"records": [ZONE["records"][0]] * 2}]}
    assert (await _apply(api, twice)).status == 422
    assert await _newest(api) == 0
    assert (await api.get("/v1/audit")).body == before
    assert (await api.get("/v1/document")).body == Document().model_dump(mode="json")


async def test_a_change_that_changes_nothing_is_no_revision(api: Any) -> None:
    """PATCH to the present value keeps the version too."""
    made = await api.made("/v1/regions", FRA)
    same = await api.patch("/v1/regions/fra", {"weight": 100, "latitude": 50.11})
    assert (same.status, same.headers["ETag"]) == (200, made.headers["ETag"])
    assert same.body == made.body
    assert await _newest(api) == 1


async def test_restoring_is_a_new_revision(api: Any) -> None:
    """History grows; the restored document is the old one; unknown numbers are 404."""
    await _apply(api, DOCUMENT)
    wanted = (await api.get("/v1/document")).body
    await api.patch("/v1/regions/fra", {"weight": 0})
    await api.delete("/v1/overrides/lan")
    restored = await api.call("POST", "/v1/revisions/1/restore")
    assert (restored.status, restored.body["revision"]) == (201, 4)
    assert (await api.get("/v1/document")).body == wanted
    numbers = [each["number"] for each in (await api.get("/v1/revisions")).body["items"]]
    assert numbers == [4, 3, 2, 1]
    assert (await api.get("/v1/revisions/4")).body["message"] == "restore revision 1"
    for number in ("9", "0", "-1", "x", "9" * 40):
        assert (await api.call("POST", f"/v1/revisions/{number}/restore")).status == 404


async def test_the_audit_tells_who_what_before_after_and_from_where(api: Any) -> None:
    """One row an object, with the revision and the request that made it."""
    await api.made("/v1/regions", FRA, headers={"X-Request-Id": "ticket-42"})
    await api.patch("/v1/regions/fra", {"weight": 7})
    rows = (await api.get("/v1/audit?object=regions/fra")).body["items"]
    changed, created = rows
    assert (created["action"], created["before"], created["request"]) == (
        "created",
        None,
        "ticket-42",
    )
    assert (changed["before"]["weight"], changed["after"]["weight"]) == (100, 7)
    assert (changed["author"], changed["address"], changed["revision"]) == ("admin", "127.0.0.1", 2)
    assert (await api.get("/v1/audit?revision=1")).body["items"] == [created]


@pytest.mark.parametrize("table", ["revision", "audit"])
async def test_without_its_revision_or_audit_a_change_does_not_happen(
    api: Any, database_url: str, table: str
) -> None:
    """When either row cannot be written, neither is anything else."""
    await api.made("/v1/regions", FRA)
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'disk full' USING ERRCODE = '53100'; END $$"
    )
    await connection.execute(
        f"CREATE TRIGGER fail BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION fail()"
    )
    refused = await api.patch("/v1/regions/fra", {"weight": 9})
    assert refused.status == 503
    await connection.execute(f"DROP TRIGGER fail ON {table}")
    assert (await api.get("/v1/regions/fra")).body["weight"] == 100
    assert await _newest(api) == 1
    assert len((await api.get("/v1/audit?object=regions/fra")).body["items"]) == 1
    assert (await api.patch("/v1/regions/fra", {"weight": 9})).status == 200
    assert await _newest(api) == 2, "the number of the failed change is not lost"
    await connection.close()


async def test_concurrent_changes_of_many_objects_make_a_gapless_history(api: Any) -> None:
    """Thirty at once: thirty revisions, each the child of the one before, the last one complete."""
    bodies = [FRA | {"id": f"r{number}"} for number in range(30)]
    answers = await asyncio.gather(*(api.call("POST", "/v1/regions", body) for body in bodies))
    assert {answer.status for answer in answers} == {201}
    items = (await api.get("/v1/revisions")).body["items"]
    assert [(each["number"], each["parent"]) for each in items] == [
        (number, number - 1) for number in range(30, 0, -1)
    ]
    newest = (await api.get("/v1/revisions/30")).body["document"]
    assert newest == (await api.get("/v1/document")).body
    assert len(newest["regions"]) == 30


async def test_a_restored_transceiver_region_has_its_wire_id_back(api: Any) -> None:
    """Credentials that name it work again."""
    made = await api.made("/v1/transceiver-regions", MEDIA)
    await api.delete("/v1/transceiver-regions/eu")
    assert (await api.call("POST", "/v1/revisions/1/restore")).status == 201
    assert (await api.get("/v1/transceiver-regions/eu")).body == made.body


async def test_a_document_keeps_the_wire_ids_that_it_does_not_name(api: Any) -> None:
    """Applying a hand-written document again draws no new ids; another id is refused."""
    await _apply(api, DOCUMENT)
    wire_id = (await api.get("/v1/transceivers/eu-1")).body["wire_id"]
    changed = DOCUMENT | {"transceivers": [DOCUMENT["transceivers"][0] | {"weight": 5}]}
    assert (await _apply(api, changed)).status == 201
    assert (await api.get("/v1/transceivers/eu-1")).body["wire_id"] == wire_id
    other = wire_id % 65535 + 1
    moved = DOCUMENT | {"transceivers": [DOCUMENT["transceivers"][0] | {"wire_id": other}]}
    refused = await _apply(api, moved)
    assert "cannot be changed" in refused.rules["transceivers/eu-1/wire_id"]
