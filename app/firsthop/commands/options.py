"""Reading option texts: each refusal names the option and the rule, and exits with code 2."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

import typer

from firsthop.addresses import NONE, Listen, parse_listen

StateDir = Annotated[
    Path, typer.Option("--state-dir", envvar="FIRSTHOP_STATE_DIR", help="Where state is kept.")
]
STATE_DIR = Path(".firsthop")
ApiUrl = Annotated[str, typer.Option("--api", envvar="FIRSTHOP_API_URL")]
API_URL = "http://127.0.0.1:8080"
Token = Annotated[
    str | None, typer.Option(envvar="FIRSTHOP_TOKEN", help="Default: admin.token in --state-dir.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Even if it moves more clients than the guard allows.")
]
GeoipCity = Annotated[
    Path | None, typer.Option(envvar="FIRSTHOP_GEOIP_CITY", help="A City or Country MMDB.")
]
GeoipAsn = Annotated[Path | None, typer.Option(envvar="FIRSTHOP_GEOIP_ASN", help="An ASN MMDB.")]


def listen_list(text: str, option: str) -> list[Listen]:
    """The addresses of a comma list; raises typer.BadParameter."""
    try:
        return parse_listen(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def listen_one(text: str, option: str) -> Listen:
    """Exactly one address; raises typer.BadParameter."""
    addresses = listen_list(text, option)
    if len(addresses) != 1:
        raise typer.BadParameter("must be one ADDRESS:PORT", param_hint=option)
    return addresses[0]


def network(text: str, option: str) -> IPv4Network | IPv6Network:
    """A CIDR; raises typer.BadParameter."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def networks(text: str, option: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """The CIDRs of a comma list; `none` gives none."""
    if text.strip() == NONE:
        return ()
    return tuple(network(each, option) for each in items(text))


def share_of_relays(share: float, option: str) -> float:
    """Above 0, as one relay may always be down, and at most 1; raises typer.BadParameter."""
    if not 0 < share <= 1:
        raise typer.BadParameter(f"{share:g} is not above 0 and at most 1", param_hint=option)
    return share


def share_of_clients(share: float, option: str) -> float:
    """At least 0, where nobody may move, and at most 1; raises typer.BadParameter."""
    if not 0 <= share <= 1:
        raise typer.BadParameter(f"{share:g} is not from 0 to 1", param_hint=option)
    return share


def items(text: str) -> list[str]:
    """What stands between the commas of a list."""
    return [each.strip() for each in text.split(",") if each.strip()]
