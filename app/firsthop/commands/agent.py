"""`firsthop agent`: load and drain reporting beside one relay."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated
from urllib.parse import urljoin, urlsplit

import typer
from aiohttp import ClientSession

from firsthop.commands.options import ApiUrls, TokenFile, bearer_token, http_url, items
from firsthop.commands.slugs import slug
from firsthop.process.running import run_until_signal
from firsthop_healthchecks.agent.agent import Agent, HostCounters, RelayCounters
from firsthop_healthchecks.agent.presence import Presence
from firsthop_healthchecks.agent.round_trips import RelayRoundTrips
from firsthop_healthchecks.agent.samples import AgentSampleReporter
from firsthop_healthchecks.controlplane import ControlPlaneClient
from firsthop_steering.feed.sample_queue import SampleUploadQueue


def _optional_url(value: str | None) -> str | None:
    return http_url(value) if value else None


def agent(
    api_url: ApiUrls,
    relay_id: Annotated[
        str, typer.Option(envvar="FIRSTHOP_RELAY_ID", callback=slug, help="Id of the relay.")
    ],
    token: Annotated[
        str | None,
        typer.Option(envvar="FIRSTHOP_TOKEN", help="Bearer token of this relay (role agent)."),
    ] = None,
    token_file: TokenFile = None,
    relay_metrics_url: Annotated[
        str | None,
        typer.Option(
            envvar="FIRSTHOP_RELAY_METRICS_URL",
            callback=_optional_url,
            help="URL of the relay's /metrics; default: read the host's network counters.",
        ),
    ] = None,
    drain: Annotated[
        bool,
        typer.Option("--drain", help="Start draining: report that no new sessions are accepted."),
    ] = False,
    grace: Annotated[
        float | None,
        typer.Option(
            envvar="FIRSTHOP_AGENT_GRACE_S",
            min=0,
            max=86400,
            help="On SIGTERM, report that the relay ends in this number of seconds.",
        ),
    ] = None,
) -> None:
    """Report the load of one relay from beside it. SIGUSR1 starts a drain, SIGUSR2 ends it."""
    secret = bearer_token(token, token_file)
    run_until_signal(_report(api_url, secret, relay_id, relay_metrics_url, drain, grace))


async def _report(
    api_url: str,
    token: str,
    relay_id: str,
    metrics_url: str | None,
    draining: bool,
    grace_s: float | None,
) -> None:
    async with (
        ControlPlaneClient(items(api_url), token) as control_plane,
        ClientSession() as session,
    ):
        counters = RelayCounters(metrics_url, session) if metrics_url else HostCounters()
        beside = Agent(relay_id, control_plane=control_plane, counters=counters, draining=draining)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, beside.drain, True)
        loop.add_signal_handler(signal.SIGUSR2, beside.drain, False)
        tasks = [asyncio.create_task(beside.run())]
        if metrics_url:
            target = urlsplit(metrics_url)
            port = target.port or (443 if target.scheme == "https" else 80)
            presence = Presence(target.hostname or "", port)
            tasks.append(asyncio.create_task(presence.run(beside.found)))
            url = urljoin(metrics_url, "samples")
            queue = SampleUploadQueue()
            measured = RelayRoundTrips(relay_id, url, session, board=queue)
            tasks.append(asyncio.create_task(measured.run()))
            reporter = AgentSampleReporter(control_plane, queue)
            tasks.append(asyncio.create_task(reporter.run()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            if grace_s is not None:
                await beside.stop(grace_s)
