"""One lying vantage of three, for real: control plane, database, edge, reports over HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import dns.exception
import pytest

from support.deployment import addresses, ask, free_port
from support.geodata import give_geodata
from support.standin import running
from support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.database]
ROUNDS = 8
"""So often is each lie repeated."""
APEX = "edge.example"
DOCUMENT: dict[str, Any] = {
    "regions": [
        {"id": "fra", "latitude": 50.11, "longitude": 8.68},
        {"id": "iad", "latitude": 39.04, "longitude": -77.49},
    ],
    "relays": [
        {"id": f"{region}-{number}", "region": region,
         "ipv4": f"192.0.2.{base + number}", "ipv6": f"2001:db8::{base + number}"}
        for region, base in (("fra", 10), ("iad", 20))
        for number in (1, 2)
    ],
    "zones": [{"apex": APEX, "primary": f"ns1.{APEX}", "contact": f"hostmaster.{APEX}",
               "name_servers": [f"ns1.{APEX}"]}],
    "services": [{"id": "relay", "name": f"relay.{APEX}"}],
}  # fmt: skip
DEAD = {"fra-2", "iad-2"}
CLIENTS = ("91.0.0.0/24", "12.0.0.0/24")
"""In Germany and in the United States."""
View = dict[str, Any]
Report = dict[str, Any]


def truth(prober: str, *, ahead_s: float = 0.0) -> Report:
    """What an honest prober says now."""
    now = (datetime.now(UTC) + timedelta(seconds=ahead_s)).isoformat()
    views = [
        {"relay": each["id"], "family": family, "since": now, "checked_at": now,
         "verdict": "down" if each["id"] in DEAD else "up",
         "reason": "timeout" if each["id"] in DEAD else ""}
        for each in DOCUMENT["relays"]
        for family in ("ipv4", "ipv6")
    ]  # fmt: skip
    return {"prober": prober, "vantage": prober, "sent_at": now, "views": views}


def says(verdict: str, view: View) -> View:
    return view | {"verdict": verdict, "reason": "timeout" if verdict == "down" else ""}


def opposite(view: View) -> View:
    return says("up" if view["verdict"] == "down" else "down", view)


def of_all(change: Callable[[View], View]) -> Callable[[Report, int], Report]:
    return lambda report, _: report | {"views": [change(view) for view in report["views"]]}


def in_one_family(report: Report, _: int) -> Report:
    views = [opposite(each) if each["family"] == "ipv6" else each for each in report["views"]]
    return report | {"views": views}


def now_this_now_that(report: Report, number: int) -> Report:
    return of_all(opposite)(report, number) if number % 2 else report


def of_another_vantage(report: Report, number: int) -> Report:
    """As if it stood where a stands, and then in places that nobody knows."""
    vantage = "a" if number < ROUNDS // 2 else f"x{number}"
    return of_all(opposite)(report, number) | {"vantage": vantage}


def with_checks_to_come(report: Report, number: int) -> Report:
    later = (datetime.now(UTC) + timedelta(seconds=9)).isoformat()
    return of_all(lambda view: opposite(view) | {"checked_at": later})(report, number)


LIES: dict[str, Callable[[Report, int], Report]] = {
    "all are down": of_all(lambda view: says("down", view)),
    "all are up": of_all(lambda view: says("up", view)),
    "nothing is known": of_all(lambda view: says("unknown", view)),
    "the dead live and the living are dead": of_all(opposite),
    "IPv6 is the other way round": in_one_family,
    "now this, now that": now_this_now_that,
    "nothing at all": lambda report, _: report | {"views": []},
    "another vantage": of_another_vantage,
    "checks that are yet to come": with_checks_to_come,
}


class Reporters:
    """Three reporters, and an edge to ask."""

    def __init__(self, api: Any, tokens: dict[str, str], port: int) -> None:
        self.api, self.tokens, self.port = api, tokens, port

    async def report(self, prober: str, report: Report) -> None:
        answer = await self.api.call(
            "POST", "/v1/probes/results", report, token=self.tokens[prober]
        )
        assert answer.status == (204 if report["vantage"] == prober else 403), answer

    async def answers(self) -> list[list[str]]:
        """Of the edge, to all clients, in both families."""
        return await asyncio.to_thread(
            lambda: [self._answer(client, kind) for client in CLIENTS for kind in ("A", "AAAA")]
        )

    def _answer(self, client: str, kind: str) -> list[str]:
        """Asked again when it is late: on a busy machine that is no other answer."""
        for _ in range(4):
            with contextlib.suppress(OSError, dns.exception.Timeout):
                return addresses(ask(self.port, client, name=f"relay.{APEX}.", kind=kind))
        return []

    async def verdicts(self) -> dict[str, tuple[Any, ...]]:
        relays = (await self.api.get("/v1/status")).body["relays"]
        return {
            name: (each["verdict"], each["since"], each["families"])
            for name, each in relays.items()
        }


RIGHT = [["192.0.2.11"], ["2001:db8::11"], ["192.0.2.21"], ["2001:db8::21"]]


async def test_one_lying_vantage_of_three_never_changes_an_answer(
    start_api: Any, tmp_path: Path
) -> None:
    """Nor a verdict, nor since when it stands; a second liar would. The depool guard is no help."""
    api = await start_api(depool_share=1.0, depool_region_share=1.0)
    await api.made("/v1/changesets", {"document": DOCUMENT})
    tokens = {prober: await api.token_of("prober", prober) for prober in "abc"}
    port, metrics = free_port(), free_port()
    give_geodata(tmp_path / "edge")
    edge = running(
        "edge",
        FIRSTHOP_API_URL=api.url,
        FIRSTHOP_TOKEN=await api.token_of("edge"),
        FIRSTHOP_SNAPSHOT_KEY=str(api.state_dir / "snapshot.pub"),
        FIRSTHOP_STATE_DIR=str(tmp_path / "edge"),
        FIRSTHOP_DNS_LISTEN=f"127.0.0.1:{port}",
        FIRSTHOP_DNS_WORKERS="1",
        FIRSTHOP_ALLOCATOR_LISTEN="none",
        FIRSTHOP_METRICS_LISTEN=f"127.0.0.1:{metrics}",
    )
    field = Reporters(api, tokens, port)

    async def ready() -> bool:
        with contextlib.suppress(aiohttp.ClientError):
            async with api.session.get(f"http://127.0.0.1:{metrics}/readyz") as answer:
                return answer.status == 200
        return False

    async def right() -> bool:
        for prober in "abc":
            await field.report(prober, truth(prober))
        return await field.answers() == RIGHT

    async with edge:
        await eventually(ready, "the edge is ready")
        await eventually(right, "the edge answers with who is alive")
        before = await field.verdicts()
        for name, lie in LIES.items():
            for number in range(ROUNDS):
                await field.report("c", lie(truth("c"), number))
                for prober in "ab":
                    await field.report(prober, truth(prober))
                assert await field.answers() == RIGHT, name
            assert await field.verdicts() == before, name

        async def wrong() -> bool:
            for prober in "bc":
                await field.report(prober, of_all(opposite)(truth(prober), 0))
            await field.report("a", truth("a"))
            return await field.answers() != RIGHT

        await eventually(wrong, "two liars change the answer")
