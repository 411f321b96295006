"""`firsthop prober`: active checks from one vantage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from firsthop.commands.options import ApiUrls, TokenFile, bearer_token, items
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
    api_url: ApiUrls,
    prober_id: Annotated[
        str, typer.Option(envvar="FIRSTHOP_PROBER_ID", callback=slug, help="Id of this prober.")
    ],
    vantage: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_VANTAGE", callback=slug, help="Vantage from which it probes."
        ),
    ],
    token: Annotated[
        str | None, typer.Option(envvar="FIRSTHOP_TOKEN", help="Bearer token with the role prober.")
    ] = None,
    token_file: TokenFile = None,
    state_dir: Annotated[
        Path,
        typer.Option(envvar="FIRSTHOP_STATE_DIR", help="Folder in which the targets are kept."),
    ] = Path(".firsthop"),
    source: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_PROBE_SOURCE",
            help="Source address of probes: IPv4, IPv6, or both, separated by a comma.",
        ),
    ] = "",
) -> None:
    """Probe all relays from one vantage, and report the results to the control plane."""
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
