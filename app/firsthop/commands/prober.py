"""`firsthop prober`: active checks from one vantage."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from firsthop.commands.options import ApiUrls, TokenFile, bearer_token, items, networks
from firsthop.commands.slugs import slug
from firsthop.process.running import run_until_signal
from firsthop_healthchecks.controlplane import ControlPlaneClient
from firsthop_healthchecks.prober.gc_tuning import collect_seldom
from firsthop_healthchecks.prober.prober import Prober
from firsthop_healthchecks.prober.statefile import StateFile
from firsthop_healthchecks.prober.target_policy import TargetPolicy
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
    allow_targets: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_ALLOW_TARGETS",
            help="CIDRs, comma-separated: check addresses in these networks only. Default: all but"
            " loopback, link-local, multicast and metadata addresses, and http only globally.",
        ),
    ] = "",
    deny_targets: Annotated[
        str,
        typer.Option(
            envvar="FIRSTHOP_DENY_TARGETS",
            help="CIDRs, comma-separated: never check addresses in these networks.",
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
    policy = TargetPolicy(
        allowed=networks(allow_targets, "--allow-targets"),
        denied=networks(deny_targets, "--deny-targets"),
    )
    collect_seldom()

    async def probe() -> None:
        async with ControlPlaneClient(items(api_url), secret) as control_plane:
            await Prober(
                *(prober_id, vantage),
                control_plane=control_plane,
                state=state,
                probes=probes,
                policy=policy,
            ).run()

    run_until_signal(probe())
