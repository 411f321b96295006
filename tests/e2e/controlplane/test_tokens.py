"""Who may call: roles, secrets, expiry, and that an admin always stays."""

from __future__ import annotations

import asyncio
import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support.waiting import eventually

pytestmark = pytest.mark.database
FRA = {"id": "fra", "latitude": 50.11, "longitude": 8.68}


async def test_no_token_a_wrong_one_and_none_at_all(api: Any) -> None:
    """401 with WWW-Authenticate, as a problem."""
    for header in ("", "Bearer", "Bearer ", "Bearer nonsense", "Basic Zm9v", "Bearer \u00e9\u00ff"):
        answer = await api.get("/v1/regions", headers={"Authorization": header})
        assert (answer.status, answer.body["status"]) == (401, 401), header
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


ALLOWED: list[Any] = [
    ("viewer", {("GET", "/v1/regions"), ("GET", "/v1/audit"), ("GET", "/v1/status")}),
    (
        "operator",
        {
            ("GET", "/v1/regions"),
            ("GET", "/v1/audit"),
            ("GET", "/v1/status"),
            ("POST", "/v1/regions"),
            ("GET", "/v1/probes/targets"),
        },
    ),
    ("prober", {("GET", "/v1/probes/targets")}),
    ("edge", set()),
    ("allocator", set()),
]


async def test_roles_do_what_they_may_and_no_more(api: Any) -> None:
    """403 for everything else."""
    tried = [
        ("GET", "/v1/regions"),
        ("GET", "/v1/audit"),
        ("GET", "/v1/status"),
        ("POST", "/v1/regions"),
        ("GET", "/v1/probes/targets"),
        ("GET", "/v1/tokens"),
        ("POST", "/v1/keys"),
    ]
    for role, allowed in ALLOWED:
        secret = await api.token_of(role)
        for method, path in tried:
            body = FRA if method == "POST" else None
            answer = await api.call(method, path, body, token=secret)
            may = (method, path) in allowed
            assert (answer.status != 403) == may, (role, method, path, answer)
        if role != "edge":
            assert (await api.get("/v1/snapshots/stream", token=secret)).status == 403


async def test_a_secret_is_told_once_and_stored_nowhere(api: Any, database_url: str) -> None:
    """Neither lists nor the audit nor the store have it."""
    made = await api.made("/v1/tokens", {"name": "ci", "role": "viewer"})
    secret = made.body["secret"]
    assert len(secret) == 43
    everything = [
        (await api.get(path)).body
        for path in ("/v1/tokens", f"/v1/tokens/{made.body['id']}", "/v1/audit")
    ]
    assert secret not in json.dumps(everything)
    assert (await api.get("/v1/regions", token=secret)).status == 200
    assert (await api.call("POST", "/v1/tokens", {"name": "ci", "role": "edge"})).status == 409


async def test_a_revoked_or_ended_token_stops_at_once(api: Any) -> None:
    """The next request with it is refused."""
    made = await api.made("/v1/tokens", {"name": "a", "role": "viewer"})
    one, secret = f"/v1/tokens/{made.body['id']}", made.body["secret"]
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    assert (await api.patch(one, {"expires_at": past, "name": "b"})).body["name"] == "b"
    assert (await api.get("/v1/regions", token=secret)).status == 401
    assert (await api.patch(one, {"expires_at": None})).status == 200
    assert (await api.get("/v1/regions", token=secret)).status == 200
    assert (await api.delete(one)).status == 204
    assert (await api.get("/v1/regions", token=secret)).status == 401


async def test_the_last_admin_stays(api: Any) -> None:
    """Neither deleted nor ended; of two that delete each other at once, one is left."""
    (first,) = (await api.get("/v1/tokens")).body["items"]
    one = f"/v1/tokens/{first['id']}"
    assert (await api.delete(one)).status == 409
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    assert (await api.patch(one, {"expires_at": past})).status == 409
    second = (await api.made("/v1/tokens", {"name": "two", "role": "admin"})).body
    answers = await asyncio.gather(api.delete(one), api.delete(f"/v1/tokens/{second['id']}"))
    assert sorted(answer.status for answer in answers) in ([204, 409], [204, 401])
    left = [
        t
        for t in (api.token, second["secret"])
        if (await api.get("/v1/tokens", token=t)).status == 200
    ]
    assert len(left) == 1


SENSELESS: list[Any] = [
    {"name": "x", "role": "agent"},
    {"name": "x", "role": "prober"},
    {"name": "x", "role": "viewer", "scope": "fra-1"},
    {"name": "x", "role": "root"},
    {"name": " x", "role": "viewer"},
    {"name": "x", "role": "viewer", "expires_at": "2001-01-01T00:00:00Z"},
    {"name": "x", "role": "viewer", "expires_at": "2100-01-01T00:00:00"},
    {"name": "x", "role": "viewer", "expires_at": "9999-12-31T23:59:59.999999Z"},
]


async def test_tokens_that_make_no_sense_are_refused(api: Any) -> None:
    """422 with field and rule."""
    for body in SENSELESS:
        answer = await api.call("POST", "/v1/tokens", body)
        assert answer.status == 422, body
        assert answer.body["errors"], body


async def test_the_admin_token_file_is_private_and_made_again_when_lost(start_api: Any) -> None:
    """A later start keeps it; a lost file gets a new token; the old one still works."""
    first = await start_api()
    file = first.state_dir / "admin.token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert (await start_api()).token == first.token
    file.unlink()
    third = await start_api()
    assert third.token != first.token
    assert (await third.get("/v1/tokens")).status == 200
    assert (await third.get("/v1/tokens", token=first.token)).status == 200


async def test_bootstrap_tokens_follow_their_file(start_api: Any, tmp_path: Path) -> None:
    """Present at the start; later additions and changed secrets are in force within a second."""
    file = tmp_path / "tokens.json"
    edge = {"name": "edge", "role": "edge", "scope": None, "secret": "e" * 43}
    prober = {"name": "p", "role": "prober", "scope": "a", "secret": "p" * 43}
    file.write_text(json.dumps([edge]))
    api = await start_api(bootstrap_tokens=file, poll_s=0.05)
    assert (await api.get("/v1/regions", token="e" * 43)).status == 403, "known, of another role"
    assert (await api.get("/v1/probes/targets", token="p" * 43)).status == 401
    file.write_text(json.dumps([edge | {"secret": "f" * 43}, prober]))

    async def changed() -> bool:
        return (await api.get("/v1/probes/targets", token="p" * 43)).status == 200

    await eventually(changed, "the added token works")
    assert (await api.get("/v1/regions", token="f" * 43)).status == 403
    assert (await api.get("/v1/regions", token="e" * 43)).status == 401
    names = [each["name"] for each in (await api.get("/v1/tokens")).body["items"]]
    assert sorted(names) == ["admin", "edge", "p"]


async def test_a_deleted_bootstrap_token_stays_deleted(start_api: Any, tmp_path: Path) -> None:
    """Over restarts and changes of the file; so does an expiry. Only a new secret comes in."""
    file = tmp_path / "tokens.json"
    stolen = {"name": "edge-a", "role": "viewer", "scope": None, "secret": "a" * 43}
    limited = {"name": "edge-b", "role": "viewer", "scope": None, "secret": "b" * 43}
    file.write_text(json.dumps([stolen, limited]))
    api = await start_api(bootstrap_tokens=file)
    ids = {each["name"]: each["id"] for each in (await api.get("/v1/tokens")).body["items"]}
    assert (await api.delete(f"/v1/tokens/{ids['edge-a']}")).status == 204
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    change = {"expires_at": past, "name": "renamed"}
    assert (await api.patch(f"/v1/tokens/{ids['edge-b']}", change)).status == 200
    await api.stop()

    async def refused(api: Any) -> list[int]:
        return [(await api.get("/v1/status", token=each * 43)).status for each in "ab"]

    again = await start_api(bootstrap_tokens=file, poll_s=0.05)
    assert await refused(again) == [401, 401]
    file.write_text(json.dumps([stolen | {"name": "other"}, stolen | {"secret": "c" * 43}]))

    async def added() -> bool:
        return (await again.get("/v1/status", token="c" * 43)).status == 200

    await eventually(added, "the new secret works")
    assert await refused(again) == [401, 401]


async def test_the_use_of_tokens_is_counted_and_kept(start_api: Any) -> None:
    """Last use, and refusals by reason; over a restart, and in metrics."""
    api = await start_api()
    made = await api.made("/v1/tokens", {"name": "p", "role": "prober", "scope": "a"})
    one, secret = f"/v1/tokens/{made.body['id']}", made.body["secret"]
    fresh = (await api.get(one)).body
    assert (fresh["last_used_at"], fresh["uses"], fresh["refusals"]) == (None, 0, {})
    before = datetime.now(UTC)
    assert (await api.get("/v1/probes/targets", token=secret)).status == 200
    assert (await api.get("/v1/regions", token=secret)).status == 403
    report = {"prober": "x", "vantage": "b", "sent_at": before.isoformat(), "views": []}
    for _ in range(20):
        answer = await api.call("POST", "/v1/probes/results", report, token=secret)
        assert answer.status == 403
    assert (await api.call("POST", "/v1/probes/results", {}, token=secret)).status == 422
    past = (before - timedelta(days=1)).isoformat()
    assert (await api.patch(one, {"expires_at": past})).status == 200
    assert (await api.get("/v1/probes/targets", token=secret)).status == 401

    def is_counted(shown: dict[str, Any]) -> bool:
        refusals = {"expired": 1, "forbidden": 21, "invalid": 1}
        at = datetime.fromisoformat(shown["last_used_at"])
        return (shown["uses"], shown["refusals"]) == (22, refusals) and at >= before

    assert is_counted((await api.get(one)).body)
    listed = {each["name"]: each for each in (await api.get("/v1/tokens")).body["items"]}
    assert is_counted(listed["p"])
    metrics = (await api.get("/metrics")).body.decode()
    assert 'firsthop_token_refusals_total{reason="forbidden",role="prober"} 21.0' in metrics
    assert 'firsthop_token_abuses_total{role="prober"} 1.0' in metrics
    await api.stop()
    again = await start_api()
    assert is_counted((await again.get(one)).body)


async def test_all_tokens_of_a_role_are_revoked_at_once(api: Any) -> None:
    """Of role admin all but the caller's own; other roles are not touched."""
    secrets = {role: [await api.token_of(role) for _ in range(2)] for role in ("edge", "viewer")}
    other = (await api.made("/v1/tokens", {"name": "two", "role": "admin"})).body["secret"]
    answer = await api.call("DELETE", "/v1/tokens?role=viewer")
    assert (answer.status, len(answer.body["revoked"])) == (200, 2)
    for secret in secrets["viewer"]:
        assert (await api.get("/v1/status", token=secret)).status == 401
    for secret in secrets["edge"]:
        assert (await api.get("/v1/status", token=secret)).status == 403
    assert (await api.call("DELETE", "/v1/tokens?role=admin")).body == {"revoked": ["two"]}
    assert (await api.get("/v1/tokens", token=other)).status == 401
    assert (await api.get("/v1/tokens")).status == 200
    assert (await api.call("DELETE", "/v1/tokens")).status == 400, "a role must be given"


async def test_keys_rotate_go_back_and_retire(api: Any) -> None:
    """The newest signs; another may be made to; the signing one stays; secrets never leave."""
    (first,) = (await api.get("/v1/keys")).body["items"]
    assert first["signing"] is True
    second = (await api.made("/v1/keys", {})).body
    assert second == second | {"id": first["id"] + 1, "signing": True}
    assert set(second) == {"id", "signing", "created_at", "created_by"}
    assert (await api.delete(f"/v1/keys/{second['id']}")).status == 409
    back = await api.patch(f"/v1/keys/{first['id']}", {"signing": True})
    assert back.body["signing"] is True
    assert (await api.patch(f"/v1/keys/{first['id']}", {"signing": False})).status == 422
    assert (await api.delete(f"/v1/keys/{second['id']}")).status == 204
    assert (await api.get(f"/v1/keys/{second['id']}")).status == 404
    third = (await api.made("/v1/keys", {})).body
    assert third["id"] == second["id"] + 1, "an id comes back only after all others"
