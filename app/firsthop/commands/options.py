"""Options that several commands have, and parsers of their texts.

A parser that refuses a text names the option and the rule; the exit status is then 2.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any

import typer

from firsthop.addresses import NONE, Listen, parse_listen

StateDir = Annotated[
    Path,
    typer.Option(
        "--state-dir",
        envvar="FIRSTHOP_STATE_DIR",
        help="Folder where this process keeps its state.",
    ),
]
STATE_DIR = Path(".firsthop")
AllowLoopback = Annotated[
    bool,
    typer.Option(
        "--allow-loopback",
        envvar="FIRSTHOP_ALLOW_LOOPBACK",
        help="Accept loopback addresses of relays, transceivers and fallbacks.",
    ),
]
TokenFile = Annotated[
    Path | None,
    typer.Option(envvar="FIRSTHOP_TOKEN_FILE", help="File that holds the bearer token."),
]
GeoipCity = Annotated[
    Path | None,
    typer.Option(
        envvar="FIRSTHOP_GEOIP_CITY",
        help="MMDB file with a City or Country database; default: the bundled one.",
    ),
]
GeoipAsn = Annotated[
    Path | None,
    typer.Option(envvar="FIRSTHOP_GEOIP_ASN", help="MMDB file with an ASN database."),
]


def listen_option(variable: str, purpose: str, *, several: bool = False) -> Any:
    """An option for one listening address, or with `several` for any number of them."""
    text = f"ADDRESS:PORT for {purpose}"
    return typer.Option(
        envvar=variable,
        help=f"{text}, or several, comma-separated; or `none`." if several else f"{text}.",
    )


def listen_list(text: str, option: str) -> list[Listen]:
    """The addresses of a comma-separated list; raises typer.BadParameter."""
    try:
        return parse_listen(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def listen_one(text: str, option: str) -> Listen:
    """Parses exactly one address; raises typer.BadParameter."""
    addresses = listen_list(text, option)
    if len(addresses) != 1:
        raise typer.BadParameter("must be one ADDRESS:PORT", param_hint=option)
    return addresses[0]


def network(text: str, option: str) -> IPv4Network | IPv6Network:
    """Parses a CIDR; raises typer.BadParameter."""
    try:
        return ip_network(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def networks(text: str, option: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """The CIDRs of a comma-separated list; `none` stands for the empty list."""
    if text.strip() == NONE:
        return ()
    return tuple(network(each, option) for each in items(text))


def share_of_relays(share: float, option: str) -> float:
    """Checks that it is above 0, as one relay may always be down, and at most 1; else raises
    typer.BadParameter."""
    if not 0 < share <= 1:
        raise typer.BadParameter(f"must be above 0 and at most 1, not {share:g}", param_hint=option)
    return share


def share_of_clients(share: float, option: str) -> float:
    """Checks that it is from 0 (no client may move) to 1; else raises typer.BadParameter."""
    if not 0 <= share <= 1:
        raise typer.BadParameter(f"must be from 0 to 1, not {share:g}", param_hint=option)
    return share


def items(text: str) -> list[str]:
    """The items of a comma-separated list."""
    return [each.strip() for each in text.split(",") if each.strip()]


def http_url(value: str) -> str:
    """Returns an HTTP URL unchanged. Raises typer.BadParameter for other text."""
    if not value.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{value!r} must start with http:// or https://")
    return value


def http_urls(value: str) -> str:
    """Like `http_url`, for a comma-separated list with at least one URL."""
    urls = items(value)
    for url in urls:
        http_url(url)
    if not urls:
        raise typer.BadParameter("needs at least one URL")
    return value


ApiUrls = Annotated[
    str,
    typer.Option(
        envvar="FIRSTHOP_API_URL",
        callback=http_urls,
        help="URLs of the control planes, comma-separated.",
    ),
]


def bearer_token(token: str | None, token_file: Path | None) -> str:
    """The token in `token_file`, or else `token`. Raises typer.BadParameter if there is none."""
    if token_file is not None:
        try:
            token = token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"token file {token_file}: {error}") from error
    if not token or not token.isprintable() or not token.isascii():
        raise typer.BadParameter("needs FIRSTHOP_TOKEN or --token-file with a bearer token")
    return token
