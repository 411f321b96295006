"""The admin API over real HTTP and a real PostgreSQL: objects, rules between them, versions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytestmark = pytest.mark.database

FRA = {"id": "fra", "name": "Frankfurt", "latitude": 50.11, "longitude": 8.68}
RELAY = {"id": "fra-1", "region": "fra", "ipv4": "127.0.10.1"}
ZONE = {
    "apex": "edge.example",
    "primary": "ns1.edge.example",
    "contact": "ops.edge.example",
    "name_servers": ["ns1.edge.example"],
}
SERVICE = {"id": "relay", "name": "relay.edge.example"}
MEDIA = {"id": "eu", "latitude": 50, "longitude": 8}
TRANSCEIVER = {"id": "eu-1", "region": "eu", "host": "127.0.20.1", "port": 4000}
OVERRIDE = {"id": "lan", "cidr": "10.0.0.0/8", "regions": ["fra"], "mode": "only"}
OBJECTS = [
    ("regions", FRA, {"weight": 50}),
    ("relays", RELAY, {"capacity": 100, "probe": {"interval_s": 2.5}}),
    ("transceiver-regions", MEDIA, {"capacity": 5}),
    ("transceivers", TRANSCEIVER, {"signalling_ipv6": "2001:db8::1"}),
    ("zones", ZONE, {"minimum": 5}),
    ("services", SERVICE, {"fallback": ["192.0.2.1", "2001:db8::1"]}),
    ("overrides", OVERRIDE, {"expires_at": "2030-01-01T00:00:00+02:00"}),
]


async def _make_all(api: Any) -> None:
    for path, body, _ in OBJECTS:
        await api.made(f"/v1/{path}", body)


async def test_every_collection_makes_lists_reads_changes_and_deletes(api: Any) -> None:
    """The same five operations for every noun, and the collections end as empty as they began."""
    await _make_all(api)
    for path, body, change in OBJECTS:
        name = body.get("id") or body["apex"]
        one = f"/v1/{path}/{name}"
        listed = (await api.get(f"/v1/{path}")).body
        assert [each.get("id", each.get("apex")) for each in listed["items"]] == [
            body.get("id", "edge.example.")
        ]
        assert (await api.get(one)).body == listed["items"][0]
        changed = await api.patch(one, change)
        assert changed.status == 200
        assert changed.body == (await api.get(one)).body != listed["items"][0]
    for path, body, _ in reversed(OBJECTS):
        name = body.get("id") or body["apex"]
        assert (await api.delete(f"/v1/{path}/{name}")).status == 204
        assert (await api.get(f"/v1/{path}/{name}")).status == 404
        assert (await api.get(f"/v1/{path}")).body == {"items": [], "next_cursor": None}


async def test_a_patch_keeps_what_it_does_not_name_and_null_clears(api: Any) -> None:
    """Inner objects are patched field by field; null clears what may be null, and only that."""
    await api.made("/v1/regions", FRA)
    await api.made("/v1/relays", RELAY | {"capacity": 7, "probe": {"rise": 5}})
    changed = await api.patch("/v1/relays/fra-1", {"capacity": None, "probe": {"fall": 9}})
    assert changed.body["capacity"] is None
    assert (changed.body["probe"]["rise"], changed.body["probe"]["fall"]) == (5, 9)
    refused = await api.patch("/v1/relays/fra-1", {"weight": None})
    assert refused.status == 422
    assert "weight" in refused.rules
    assert (await api.patch("/v1/relays/fra-1", {"id": "other"})).status == 422
    assert (await api.patch("/v1/relays/fra-1", {"id": "fra-1"})).status == 200


async def test_pages_cover_the_list_once(api: Any) -> None:
    """limit and cursor visit every object once, in the order of ids."""
    for number in range(7):
        await api.made("/v1/regions", FRA | {"id": f"r{number}"})
    seen, cursor = [], ""
    while True:
        page = (await api.get(f"/v1/regions?limit=3{cursor}")).body
        seen += [each["id"] for each in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [f"r{number}" for number in range(7)]


async def test_changes_need_the_version_they_start_from(api: Any) -> None:
    """428 without If-Match, 412 with an old one, and a version is never used for two contents."""
    first = await api.made("/v1/regions", FRA)
    assert (await api.call("PATCH", "/v1/regions/fra", {"weight": 1})).status == 428
    assert (await api.call("DELETE", "/v1/regions/fra")).status == 428
    assert (await api.patch("/v1/regions/fra", {"weight": 2})).status == 200
    lost = await api.call("PATCH", "/v1/regions/fra", {"weight": 3}, headers=first.etag)
    assert lost.status == 412
    assert (await api.call("DELETE", "/v1/regions/fra", headers=first.etag)).status == 412
    await api.delete("/v1/regions/fra")
    again = await api.made("/v1/regions", FRA)
    assert again.headers["ETag"] != first.headers["ETag"]
    weak = {"If-Match": "W/" + again.headers["ETag"]}
    assert (await api.call("PATCH", "/v1/regions/fra", {"weight": 3}, headers=weak)).status == 412


async def test_of_concurrent_patches_of_one_version_one_wins(api: Any) -> None:
    """Twenty at once from the same version: one 200, nineteen 412, one revision."""
    made = await api.made("/v1/regions", FRA)
    before = (await api.get("/v1/revisions")).body["items"][0]["number"]
    answers = await asyncio.gather(
        *(
            api.call("PATCH", "/v1/regions/fra", {"weight": weight}, headers=made.etag)
            for weight in range(20)
        )
    )
    assert sorted(answer.status for answer in answers) == [200] + [412] * 19
    winner = next(answer for answer in answers if answer.status == 200)
    assert (await api.get("/v1/regions/fra")).body == winner.body
    assert (await api.get("/v1/revisions")).body["items"][0]["number"] == before + 1


async def test_of_concurrent_posts_of_one_id_one_wins(api: Any) -> None:
    """The others are told that it is taken."""
    answers = await asyncio.gather(*(api.call("POST", "/v1/regions", FRA) for _ in range(10)))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 9


async def test_referential_mistakes_are_refused_with_field_and_rule(api: Any) -> None:
    """A relay in no region, a taken address, a service outside every zone."""
    await _make_all(api)
    lost = await api.call("POST", "/v1/relays", RELAY | {"id": "x", "region": "nowhere"})
    assert (lost.status, lost.headers["Content-Type"][:24]) == (422, "application/problem+json")
    assert lost.rules["relays/x/region"] == "names no region: nowhere"
    twin = await api.call("POST", "/v1/relays", RELAY | {"id": "x"})
    assert twin.status == 422
    assert "already belongs to relay fra-1" in twin.rules["relays/x/ipv4"]
    outside = await api.call("POST", "/v1/services", {"id": "x", "name": "relay.example.net"})
    assert outside.status == 422
    assert "outside every zone" in outside.rules["services/x/name"]
    moved = await api.patch("/v1/overrides/lan", {"regions": ["fra", "atlantis"]})
    assert moved.status == 422


IN_USE: list[Any] = [
    ("regions/fra", "relays/fra-1"),
    ("transceiver-regions/eu", "transceivers/eu-1"),
    ("zones/edge.example", "services/relay"),
]


async def test_what_is_in_use_is_not_deleted(api: Any) -> None:
    """409 that names who uses it, and it is still there."""
    await _make_all(api)
    for path, user in IN_USE:
        refused = await api.delete(f"/v1/{path}")
        assert refused.status == 409, path
        assert user in refused.body["detail"]
        assert any(field.startswith(user) for field in refused.rules), path
        assert (await api.get(f"/v1/{path}")).status == 200


async def test_records_have_ids_of_their_own(api: Any) -> None:
    """Two records of one RRset are told apart; the document shows no ids."""
    await api.made("/v1/zones", ZONE)
    path = "/v1/zones/edge.example/records"
    body = {"owner": "www.edge.example", "type": "A", "rdata": "192.0.2.1"}
    first = await api.made(path, body)
    second = await api.made(path, body | {"rdata": "192.0.2.2"})
    assert first.body["id"] != second.body["id"]
    one = f"{path}/{first.body['id']}"
    changed = await api.patch(one, {"rdata": "192.0.2.9", "ttl": 60})
    assert changed.body == first.body | {"rdata": "192.0.2.9", "ttl": 60}
    twice = await api.patch(one, {"rdata": "192.0.2.2"})
    assert twice.status == 422
    document = (await api.get("/v1/document")).body
    assert [each["rdata"] for each in document["zones"][0]["records"]] == ["192.0.2.2", "192.0.2.9"]
    assert "id" not in document["zones"][0]["records"][0]
    assert (await api.get(f"/v1/zones/other.example/records/{first.body['id']}")).status == 404
    assert (await api.delete(one)).status == 204
    assert len((await api.get(path)).body["items"]) == 1


async def test_a_record_may_be_as_long_as_the_dns_allows(api: Any) -> None:
    """Nearly 60 kB of text are stored, changed, audited under a short name, and deleted."""
    await api.made("/v1/zones", ZONE)
    path = "/v1/zones/edge.example/records"
    long = " ".join(f'"{"x" * 250}"' for _ in range(238))
    made = await api.made(path, {"owner": "t.edge.example", "type": "TXT", "rdata": long})
    one = f"{path}/{made.body['id']}"
    assert (await api.patch(one, {"ttl": 5})).status == 200
    assert (await api.patch(one, {"rdata": long + ' "y"'})).body["rdata"] == long + ' "y"'
    assert (await api.delete(one)).status == 204
    names = {each["object"] for each in (await api.get("/v1/audit")).body["items"]}
    assert max(len(name) for name in names) < 500


async def test_a_zone_goes_with_its_records_and_is_found_with_or_without_its_dot(api: Any) -> None:
    """`edge.example` and `edge.example.` are one zone."""
    await api.made("/v1/zones", ZONE)
    body = {"owner": "www.edge.example.", "type": "TXT", "rdata": '"a b"'}
    await api.made("/v1/zones/Edge.Example./records", body)
    with_dot = await api.get("/v1/zones/edge.example.")
    assert with_dot.body == (await api.get("/v1/zones/EDGE.example")).body
    assert (await api.delete("/v1/zones/edge.example")).status == 204
    assert (await api.get("/v1/zones/edge.example/records")).status == 404


async def test_wire_ids_are_drawn_kept_and_never_reused(api: Any) -> None:
    """Absent: drawn; set: immutable; retired: nobody else's, for ever."""
    made = await api.made("/v1/transceiver-regions", MEDIA)
    wire_id = made.body["wire_id"]
    assert 1 <= wire_id <= 65535
    for change in ({"wire_id": wire_id % 65535 + 1}, {"wire_id": None}):
        refused = await api.patch("/v1/transceiver-regions/eu", change)
        assert refused.status == 422
    assert (await api.patch("/v1/transceiver-regions/eu", {"weight": 1})).status == 200
    await api.delete("/v1/transceiver-regions/eu")
    stolen = await api.call(
        "POST", "/v1/transceiver-regions", MEDIA | {"id": "x", "wire_id": wire_id}
    )
    assert stolen.status == 422
    assert "never reused" in stolen.rules["transceiver_regions/x/wire_id"]
    other = await api.made("/v1/transceiver-regions", MEDIA)
    assert other.body["wire_id"] != wire_id
    restored = await api.call("POST", "/v1/revisions/1/restore")
    assert restored.status == 200, "the same region, which keeps the wire id that it has now"


async def test_addresses_that_no_client_could_use_are_refused(start_api: Any) -> None:
    """Nor may an operator make probers look at addresses of that kind, or forge log lines."""
    api = await start_api(allow_loopback=False)
    region = {"id": "fra", "latitude": 50.1, "longitude": 8.7}
    await api.made("/v1/regions", region)
    for address in ("169.254.169.254", "127.0.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1"):
        made = await api.call(
            "POST", "/v1/relays", json={"id": "r", "region": "fra", "ipv4": address}
        )
        assert (made.status, [*made.rules]) == (422, ["relays/r/ipv4"])
    made = await api.call(
        "POST", "/v1/regions", json=region | {"id": "b", "name": "B\nrelay.crashed\x1b[2J"}
    )
    assert (made.status, [*made.rules]) == (422, ["regions/b/name"])
    await api.made("/v1/relays", {"id": "r", "region": "fra", "ipv4": "10.0.0.1"})


async def test_what_an_older_release_accepted_may_stay(start_api: Any, database_url: str) -> None:
    """It does not hinder other changes, and can be corrected."""
    api = await start_api()
    relay = {"id": "r", "region": "fra", "ipv4": "127.0.0.1"}
    await api.made("/v1/regions", {"id": "fra", "latitude": 50.1, "longitude": 8.7})
    await api.made("/v1/relays", relay)
    await api.stop()
    api = await start_api(allow_loopback=False)
    await api.made("/v1/regions", {"id": "b", "latitude": 50.1, "longitude": 8.7})
    assert (
        await api.call("POST", "/v1/relays", json=relay | {"id": "s", "udp_port": 9})
    ).status == 422
