"""What operators type: objects listed, shown, changed and deleted by the command line."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from firsthop.command_line import build

pytestmark = pytest.mark.database

REGION = ("latitude=50.1", "longitude=8.7", "name=Frankfurt am Main")


async def _firsthop(api: Any, *arguments: str) -> tuple[int, str, str]:
    environment = {"FIRSTHOP_API_URL": api.url, "FIRSTHOP_STATE_DIR": str(api.state_dir)}
    run = CliRunner().invoke
    result = await asyncio.to_thread(run, build(arguments[0]), arguments, env=environment)
    return result.exit_code, result.stdout, result.stderr


async def _done(api: Any, *arguments: str) -> str:
    code, told, error = await _firsthop(api, *arguments)
    assert code == 0, error
    return told


async def test_an_object_is_made_listed_changed_and_deleted(api: Any) -> None:
    """What `set` prints is what the API then says."""
    made = yaml.safe_load(await _done(api, "regions", "create", "fra", *REGION))
    assert made["name"] == "Frankfurt am Main"
    header, row = (await _done(api, "regions", "list")).splitlines()
    assert header.split() == ["id", "name", "weight", "bias_ms", "state"]
    assert row.split() == ["fra", "Frankfurt", "am", "Main", "100", "0.0", "active"]
    told = await _done(api, "regions", "set", "fra", "weight=50", "bias_ms=-2.5")
    assert told.splitlines()[:2] == ["weight: 100 -> 50", "bias_ms: 0.0 -> -2.5"]
    assert told.splitlines()[2].startswith("revision ")
    shown = yaml.safe_load(await _done(api, "regions", "show", "fra"))
    assert (shown["weight"], shown["bias_ms"]) == (50, -2.5)
    assert await _done(api, "regions", "set", "fra", "weight=50") == "nothing differs\n"
    assert await _done(api, "regions", "delete", "fra") == "deleted\n"
    assert len((await _done(api, "regions", "list")).splitlines()) == 1


async def test_fields_inside_fields_are_set_alone(api: Any) -> None:
    """`probe.fall` leaves the rest of the probe as it is; null takes a value away."""
    await _done(api, "regions", "create", "fra", *REGION)
    relay = ("region=fra", "ipv4=192.0.2.1", "probe.interval_s=2", "failure_domain=rack-1")
    await _done(api, "relays", "create", "fra-1", *relay)
    await _done(api, "relays", "set", "fra-1", "probe.fall=5", "failure_domain=null")
    shown = yaml.safe_load(await _done(api, "relays", "show", "fra-1"))
    assert (shown["probe"]["interval_s"], shown["probe"]["fall"]) == (2.0, 5)
    assert shown["failure_domain"] is None


async def test_draining_and_back(api: Any) -> None:
    """`drain` sends no new clients there; `--undo` takes it back."""
    await _done(api, "regions", "create", "fra", *REGION)
    assert 'state: "active" -> "draining"' in await _done(api, "drain", "regions", "fra")
    assert 'state: "draining" -> "active"' in await _done(api, "drain", "regions", "fra", "--undo")
    code, _, error = await _firsthop(api, "drain", "zones", "fra")
    assert code == 2
    assert "must be one of regions, relays" in " ".join(error.replace("│", " ").split())


async def test_keys_are_rotated(api: Any) -> None:
    """The new key signs; the old one is still listed."""
    before = (await _done(api, "keys", "list")).splitlines()
    told = await _done(api, "keys", "rotate")
    after = (await _done(api, "keys", "list")).splitlines()
    assert len(after) == len(before) + 1
    signing = next(line.split()[0] for line in after if "True" in line)
    assert told == f"key {signing} now signs new credentials\n"


REFUSED: list[Any] = [
    (("regions", "show", "nowhere"), 1, "404"),
    (("regions", "create", "fra", "latitude=91", "longitude=0"), 1, "latitude"),
    (("regions", "create", "fra", "latitude"), 2, "must be FIELD=VALUE"),
    (("regions", "create", "fra", "name=x", "name.y=1"), 2, "is part of a field that is set too"),
    (("overrides", "delete", "../regions/fra"), 1, "404"),
]


async def test_what_is_refused_says_why(api: Any) -> None:
    """Exit status 1 for what the API refuses, 2 for what cannot be read."""
    for arguments, status, words in REFUSED:
        code, _, error = await _firsthop(api, *arguments)
        assert code == status, arguments
        assert words in " ".join(error.replace("│", " ").split()), arguments


async def test_status_names_every_relay(api: Any) -> None:
    """One that nobody has checked is unknown."""
    await _done(api, "regions", "create", "fra", *REGION)
    await _done(api, "relays", "create", "fra-1", "region=fra", "ipv4=192.0.2.1")
    async with asyncio.timeout(120):
        while "fra-1" not in (told := await _done(api, "status")):
            pass
    row = next(line for line in told.splitlines() if line.startswith("fra-1"))
    assert row.split()[1] == "unknown"


async def test_an_operators_word_on_a_relay_is_kept_and_taken_back(api: Any) -> None:
    """Whole or not at all, and null takes it away."""
    await _done(api, "regions", "create", "fra", *REGION)
    await _done(api, "relays", "create", "fra-1", "region=fra", "ipv4=192.0.2.1")
    word = '{"verdict": "down", "until": "2031-01-01T00:00:00Z", "note": "rack move"}'
    await _done(api, "relays", "set", "fra-1", f"forced={word}")
    shown = yaml.safe_load(await _done(api, "relays", "show", "fra-1"))
    assert (shown["forced"]["verdict"], shown["forced"]["note"]) == ("down", "rack move")
    code, _, error = await _firsthop(api, "relays", "set", "fra-1", "forced.verdict=maybe")
    assert (code, "forced/verdict" in error) == (1, True), error
    await _done(api, "relays", "set", "fra-1", "forced=null")
    assert yaml.safe_load(await _done(api, "relays", "show", "fra-1"))["forced"] is None


async def test_tokens_are_listed_and_revoked(api: Any) -> None:
    """By name, or all of a role; an unknown name revokes nothing."""
    for name in ("a", "b", "c"):
        await _done(api, "token", "create", "--name", f"edge-{name}", "--role", "edge")
    await _done(api, "token", "create", "--name", "p", "--role", "prober", "--scope", "fra")
    header, *rows = (await _done(api, "token", "list")).splitlines()
    assert header.split()[:3] == ["name", "role", "scope"]
    named = [row.split()[0] for row in rows]
    assert named == ["admin", "edge-a", "edge-b", "edge-c", "p"]
    code, _, error = await _firsthop(api, "token", "revoke", "edge-a", "nobody")
    assert (code, "no token nobody" in error) == (1, True)
    assert await _done(api, "token", "revoke", "edge-a") == "revoked edge-a\n"
    told = await _done(api, "token", "revoke", "--all-of", "edge")
    assert told.splitlines() == ["revoked edge-b", "revoked edge-c"]
    assert len((await _done(api, "token", "list")).splitlines()) == 3
    code, _, error = await _firsthop(api, "token", "revoke")
    assert (code, "--all-of" in error) == (2, True)
