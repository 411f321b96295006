"""Zones and records of every type through the API, and zone files by `firsthop zones import`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from firsthop.commands import controlplane, zones
from firsthop.commands.admin_api import AdminApi

pytestmark = pytest.mark.database

FILE = """$ORIGIN {apex}
$TTL 300
@ 60 SOA ns1 host 7 7200 900 1209600 60
@ NS ns1
ns1 A 192.0.2.1
www HTTPS 1 . alpn=h2
www HTTPS 1 WWW ( alpn=h2 )
sub NS ns.sub
"""
RECORDS = [
    (r"a\.b.edge.example.", "A", "192.0.2.1"),
    ("_sip._tcp.edge.example.", "SRV", "0 5 5060 sip.edge.example."),
    ("sub.edge.example.", "NS", "ns.sub.edge.example."),
    ("sub.edge.example.", "DS", "1 13 2 " + "ab" * 32),
    ("ns.sub.edge.example.", "AAAA", "2001:db8::1"),
    ("d.edge.example.", "DNAME", "other.example."),
    ("h.edge.example.", "HTTPS", "1 . alpn=h2,h3"),
    ("u.edge.example.", "TYPE65280", r"\# 2 abcd"),
]
ZONE = {
    "apex": "edge.example.",
    "primary": "ns1.edge.example.",
    "contact": r"first\.last.edge.example.",
    "name_servers": ["ns1.edge.example."],
    "name_servers_ttl": 7200,
}


async def _firsthop(api: Any, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    app = typer.Typer()
    app.add_typer(zones.app, name="zones")
    app.command("apply")(controlplane.apply)
    environment = {"FIRSTHOP_API_URL": api.url, "FIRSTHOP_STATE_DIR": str(api.state_dir)}
    run = CliRunner().invoke
    result = await asyncio.to_thread(run, app, arguments, env=environment, input=stdin)
    return result.exit_code, result.stdout, result.stderr


async def test_records_of_every_kind_are_kept(api: Any) -> None:
    """Made one by one, listed, exported, applied again: the same, with canonical types."""
    made = await api.made("/v1/zones", ZONE)
    assert made.body == {"refresh": 7200, "retry": 900, "expire": 1209600, "minimum": 60,
                         "ttl": 3600} | ZONE  # fmt: skip
    path = "/v1/zones/edge.example./records"
    for owner, type_, rdata in RECORDS:
        body = {"owner": owner.upper(), "type": type_, "rdata": rdata}
        made = await api.made(path, body)
        assert made.body["owner"] == owner
    same = {"owner": "H.edge.example", "type": "TYPE65", "rdata": '1 . alpn="h2,h3"'}
    refused = await api.call("POST", path, same)
    assert "more than once" in refused.rules["zones/edge.example./records/h.edge.example./HTTPS"]
    exported = await api.get("/v1/document")
    found = {(r["owner"], r["type"], r["rdata"]) for r in exported.body["zones"][0]["records"]}
    assert found == set(RECORDS)
    again = await api.call("POST", "/v1/changesets", {"document": exported.body})
    assert (again.status, again.body["changes"]) == (200, [])
    assert [each["field"] for each in again.body["warnings"]] == [
        "zones/edge.example./name_servers"
    ]


BROKEN: list[Any] = [
        (("a.edge.example.", "SOA", "x"), "type", "fields of the zone"),
        (("a.edge.example.", "RRSIG", "x"), "type", "signed zone"),
        (("a.edge.example.", "HTTPS", "0 . port=1"), "record", "AliasMode"),
        (("a..edge.example.", "A", "192.0.2.1"), "owner", "label is empty"),
        (("x.d.edge.example.", "A", "192.0.2.1"),
         "zones/edge.example./records/x.d.edge.example./A", "below the DNAME"),
    ]  # fmt: skip


async def test_what_breaks_a_rule_is_refused(api: Any) -> None:
    """With field and rule."""
    await api.made("/v1/zones", ZONE)
    path = "/v1/zones/edge.example./records"
    for owner, type_, rdata in RECORDS[2:3] + RECORDS[5:6]:
        await api.made(path, {"owner": owner, "type": type_, "rdata": rdata})
    for (owner, type_, rdata), field, rule in BROKEN:
        refused = await api.call("POST", path, {"owner": owner, "type": type_, "rdata": rdata})
        assert refused.status == 422, (owner, type_)
        ((told, why),) = refused.rules.items()
        assert rule in why, (owner, type_)
        assert told == field or field == "record", (owner, type_)


async def test_a_change_set_may_name_where_it_starts(api: Any) -> None:
    """With If-Match it is refused (412) once somebody was faster, on a dry run too."""
    first = await api.get("/v1/document")
    assert first.headers["ETag"] == '"0"'
    body = {"document": {"regions": [{"id": "fra", "latitude": 50, "longitude": 8}]}}
    made = await api.call("POST", "/v1/changesets", body, headers=first.etag)
    assert made.status == 201
    assert (await api.get("/v1/document")).headers["ETag"] == '"1"'
    for more in ({}, {"dry_run": True}):
        late = await api.call("POST", "/v1/changesets", body | more, headers=first.etag)
        assert late.status == 412
    bad = await api.call("POST", "/v1/changesets", body, headers={"If-Match": "x"})
    assert bad.status == 400
    assert (await api.call("POST", "/v1/changesets", body)).status == 200


async def test_zone_files_are_imported_in_one_change(api: Any, tmp_path: Path) -> None:
    """Their zones become what the files say, others stay, and what is hardly meant is told."""
    await api.made("/v1/zones", ZONE)
    body = {"owner": "old.edge.example.", "type": "A", "rdata": "192.0.2.1"}
    await api.made("/v1/zones/edge.example./records", body)
    await api.made("/v1/zones", ZONE | {"apex": "kept.example."})
    await api.made("/v1/services", {"id": "s", "name": "relay.edge.example."})
    one, two = tmp_path / "one.zone", tmp_path / "two.zone"
    one.write_text(FILE.format(apex="edge.example."))
    two.write_text(FILE.format(apex="new.example."))
    before = (await api.get("/v1/document")).headers["ETag"]

    code, out, err = await _firsthop(api, "zones", "import", str(one), str(two), "--dry-run")
    assert (code, out.splitlines()[-1]) == (0, "dry run: 11 changes, nothing was stored")
    assert (await api.get("/v1/document")).headers["ETag"] == before

    code, out, err = await _firsthop(api, "zones", "import", str(one), str(two), "-m", "moved")
    assert (code, out.splitlines()[-1]) == (0, "revision 5")
    assert "deleted  zones/edge.example./records/old.edge.example./A/192.0.2.1" in out
    assert "zones/new.example./records/sub.new.example./NS: ns.sub.new.example. has no" in err
    document = (await api.get("/v1/document")).body
    assert [each["apex"] for each in document["zones"]] == [
        "edge.example.",
        "kept.example.",
        "new.example.",
    ]
    assert [each["id"] for each in document["services"]] == ["s"]
    edge = document["zones"][0]
    assert (edge["ttl"], edge["name_servers_ttl"], edge["contact"]) == (
        60,
        300,
        "host.edge.example.",
    )
    assert len(edge["records"]) == 4
    code, out, _ = await _firsthop(api, "zones", "import", str(one))
    assert (code, out) == (0, "nothing differs\n")
    newest = (await api.get("/v1/revisions?limit=1")).body["items"][0]
    assert (newest["number"], newest["message"]) == (5, "moved")


async def test_bad_zone_files_change_nothing(api: Any, tmp_path: Path) -> None:
    """Every file's faults with their lines; a rule of the whole configuration holds as well."""
    good, bad = tmp_path / "good.zone", tmp_path / "bad.zone"
    good.write_text(FILE.format(apex="edge.example."))
    bad.write_text("@ SOA ns1 host 1 1 1 1 1\n@ NS ns1\nx A 1\nx.other. A 192.0.2.1\n")
    arguments = ("zones", "import", str(good), str(bad))
    code, _, err = await _firsthop(api, *arguments)
    assert code == 1
    assert "nothing was changed" in err
    assert f"{bad}:1: @ is relative, and no $ORIGIN is known" in err
    code, _, err = await _firsthop(api, "zones", "import", str(bad), "--apex", "b.example")
    assert f"{bad}:3: x.b.example. A: rdata of A" in err
    assert f"{bad}:4: x.other. is not a name of zone b.example." in err
    code, _, err = await _firsthop(api, *arguments, "--apex", "b.example")
    assert (code, "can be used with one file only" in err) == (2, True)
    code, _, err = await _firsthop(api, "zones", "import", str(good), str(good))
    assert f"{good}: another file also has zone edge.example." in err
    code, _, err = await _firsthop(api, "zones", "import", str(tmp_path / "none"))
    assert "cannot be read" in err
    assert (await api.get("/v1/document")).headers["ETag"] == '"0"'
    await api.made("/v1/zones", ZONE)
    await api.made("/v1/services", {"id": "s", "name": "www.edge.example."})
    code, _, err = await _firsthop(api, "zones", "import", str(good))
    assert code == 1
    assert "zones/edge.example./records/www.edge.example./HTTPS: the owner is a steered" in err


async def test_an_import_loses_nobodys_change(
    api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody is faster between its reading and its change: it reads again."""
    file = tmp_path / "edge.zone"
    file.write_text(FILE.format(apex="edge.example."))
    loop, real, raced = asyncio.get_running_loop(), AdminApi.call, []

    def late(*arguments: Any, **more: Any) -> Any:
        if not raced:
            body = {"id": "fra", "latitude": 50, "longitude": 8}
            made = api.made("/v1/regions", body)
            raced.append(asyncio.run_coroutine_threadsafe(made, loop).result(120))
        return real(*arguments, **more)

    monkeypatch.setattr(AdminApi, "call", late)
    code, out, _ = await _firsthop(api, "zones", "import", str(file))
    assert (code, out.splitlines()[-1]) == (0, "revision 2")
    document = (await api.get("/v1/document")).body
    assert len(document["regions"]) == len(document["zones"]) == 1


async def test_a_document_with_zone_files_is_applied(
    api: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file they are looked for beside it, from standard input in the current folder."""
    (tmp_path / "a.zone").write_text(FILE.format(apex="edge.example."))
    plan = tmp_path / "plan.yaml"
    plan.write_text("zones: [{apex: edge.example, file: a.zone}]\n")
    code, out, err = await _firsthop(api, "apply", "-f", str(plan))
    assert (code, out.splitlines()[-1]) == (0, "revision 1")
    assert "lacks glue" in err
    monkeypatch.chdir(tmp_path)
    code, out, _ = await _firsthop(api, "apply", "-f", "-", stdin=plan.read_text())
    assert (code, out) == (0, "nothing differs\n")
