"""`firsthop prober`: active checks from one vantage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from firsthop.commands.options import items
from firsthop.commands.process import bearer_token, http_urls
from firsthop.commands.slugs import slug
from firsthop.process.running import run_until_signal
from firsthop_healthchecks.controlplane import ControlPlaneClient
from firsthop_healthchecks.prober.gc_tuning import collect_seldom
from firsthop_healthchecks.prober.prober import Prober
from firsthop_healthchecks.prober.statefile import StateFile
from firsthop_healthchecks.probes import ProbeCheck
from firsthop_healthchecks.probes.kinds import probes_by_kind
from firsthop_healthchecks.probes.source import SourceAddresses


def prober(
    api_url: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_API_URL",
            callback=http_urls,
            help="Roots of the control planes' APIs, comma-separated.",
        ),
    ],
    prober_id: Annotated[
        str, typer.Option(envvar="FIRSTHOP_PROBER_ID", callback=slug, help="This prober's id.")
    ],
    vantage: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_VANTAGE", callback=slug, help="Name of the place it looks from."
        ),
    ],
    token: Annotated[
        str | None, typer.Option(envvar="FIRSTHOP_TOKEN", help="Bearer token, role prober.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(envvar="FIRSTHOP_TOKEN_FILE", help="File that holds the token."),
    ] = None,
    state_dir: Annotated[
        Path,
        typer.Option(envvar="FIRSTHOP_STATE_DIR", help="Where the last targets are kept."),
    ] = Path(".firsthop"),
    source: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_PROBE_SOURCE",
            help="Address that checks are sent from: IPv4, IPv6, or both with a comma between.",
        ),
    ] = "",
) -> None:
    """Run one prober."""
    secret = bearer_token(token, token_file)
    state = StateFile(state_dir / f"prober-{prober_id}.json")
    try:
        probes = probes_by_kind(SourceAddresses.parse(source))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--source") from None
    collect_seldom()
    run_until_signal(_probe(api_url, secret, prober_id, vantage, state, probes))


async def _probe(
    api_url: str,
    token: str,
    prober_id: str,
    vantage: str,
    state: StateFile,
    probes: Mapping[str, ProbeCheck],
) -> None:
    async with ControlPlaneClient(items(api_url), token) as control_plane:
        await Prober(
            prober_id, vantage, control_plane=control_plane, state=state, probes=probes
        ).run()
