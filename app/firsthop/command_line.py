"""The command line: to run a command, only its own module is imported.

So a prober starts without the libraries of a control plane, and an edge without a database driver.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import typer

from firsthop import logs
from firsthop.commands import AT_ONCE

COMMANDS = {
    "up": ("firsthop.commands.up", "up"),
    "controlplane": ("firsthop.commands.controlplane", "controlplane"),
    "edge": ("firsthop.commands.edge", "edge"),
    "edge-worker": ("firsthop.commands.edge_worker", "app"),
    "prober": ("firsthop.commands.prober", "prober"),
    "agent": ("firsthop.commands.agent", "agent"),
    "transceiver": ("firsthop.commands.transceiver", "transceiver"),
    "migrate": ("firsthop.commands.controlplane", "migrate"),
    "apply": ("firsthop.commands.controlplane", "apply"),
    "export": ("firsthop.commands.controlplane", "export"),
    "regions": ("firsthop.commands.resources", "regions"),
    "relays": ("firsthop.commands.resources", "relays"),
    "transceiver-regions": ("firsthop.commands.resources", "transceiver_regions"),
    "transceivers": ("firsthop.commands.resources", "transceivers"),
    "services": ("firsthop.commands.resources", "services"),
    "overrides": ("firsthop.commands.resources", "overrides"),
    "zones": ("firsthop.commands.zones", "app"),
    "drain": ("firsthop.commands.resources", "drain"),
    "status": ("firsthop.commands.status", "status"),
    "keys": ("firsthop.commands.keys", "app"),
    "token": ("firsthop.commands.token", "app"),
    "measurements": ("firsthop.commands.measurements", "app"),
    "explain": ("firsthop.commands.explain", "explain"),
    "simulate": ("firsthop.commands.simulate", "simulate"),
    "allocate": ("firsthop.commands.allocate", "allocate"),
    "geodata": ("firsthop.commands.geodata", "app"),
}
_HIDDEN = {"edge-worker", "relay-worker"}
_WHATEVER_FOLLOWS: dict[str, Any] = {
    "add_help_option": False,
    "context_settings": {"ignore_unknown_options": True, "allow_extra_args": True},
}
_EXTRAS = {"transceiver": "transceiver"}
"""Command → the extra with its libraries, if that is not `controlplane`."""


def build(wanted: str | None = None) -> typer.Typer:
    """The command line with all commands, or with `wanted` only."""
    app = typer.Typer(
        name="firsthop",
        help="Geo-steering for real-time media.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )

    @app.callback()
    def options(
        log_level: str = typer.Option(
            "info", envvar="FIRSTHOP_LOG_LEVEL", help="debug, info, warning or error."
        ),
    ) -> None:
        logs.configure(level=log_level)

    for name in [wanted] if wanted in COMMANDS else COMMANDS:
        module, attribute = COMMANDS[name]
        try:
            command = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            command = _not_installed(name, error)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, hidden=name in _HIDDEN)
        else:
            app.command(name, hidden=name in _HIDDEN)(command)
    if wanted not in COMMANDS:
        for name in AT_ONCE:
            app.command(name, hidden=name in _HIDDEN, **_WHATEVER_FOLLOWS)(_at_once(name))
    return app


def _not_installed(command: str, error: ModuleNotFoundError) -> Callable[[], None]:
    """A stand-in for a command whose libraries are not installed.

    If one of our own modules is missing, that is a bug, and `error` is raised again.
    """
    missing = error.name or ""
    if missing.startswith("firsthop"):
        raise error

    def unavailable() -> None:
        typer.echo(f"firsthop {command}: needs {missing}; install firsthop[{extra}]", err=True)
        raise typer.Exit(1)

    extra = _EXTRAS.get(command, "controlplane")
    unavailable.__doc__ = f"Not installed here: it is in the extra '{extra}'."
    return unavailable


def _at_once(name: str) -> Callable[[typer.Context], None]:
    """A fast-starting command for typer, which lists it and runs it after global options."""
    start = import_module(AT_ONCE[name]).main

    def command(context: typer.Context) -> None:
        start(context.args)

    command.__doc__ = start.__doc__
    return command
