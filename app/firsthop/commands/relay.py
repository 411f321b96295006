"""`firsthop relay`: forwards media by the ufrag of its first packet."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from firsthop.commands.arguments import listen_list, number, option, switch
from firsthop.relay.prebind import prebind
from firsthop.relay.settings import RelaySettings
from firsthop_net.listening import ListenError
from firsthop_relay.flows.limits import Limits

_DEFAULTS = Limits()


def main(arguments: Sequence[str]) -> None:
    """Run one relay. SIGUSR1 starts a drain, SIGUSR2 ends it."""
    settings = _settings(arguments)
    bound = prebind(settings)
    from firsthop.process.running import run_until_signal  # asyncio takes two thirds of the start
    from firsthop.process.takeover import TakeOverError
    from firsthop.relay.supervisor import serve
    from firsthop_relay.process.reloading_file import FileError

    try:
        run_until_signal(serve(settings, bound))
    except (ListenError, FileError, TakeOverError) as error:
        sys.exit(f"firsthop: {error}")


def _settings(arguments: Sequence[str]) -> RelaySettings:
    options = _options()
    given = options.parse_args(arguments)
    if not given.listen:
        options.error("argument --listen: needs at least one ADDRESS:PORT")
    if len(given.metrics) > 1:
        options.error("argument --metrics: must be one ADDRESS:PORT")
    if given.take_over and given.state_dir is None:
        options.error("argument --take-over: needs --state-dir")
    _check_redis(options, given.flow_store)
    return RelaySettings(
        udp=given.listen,
        tcp=given.listen_tcp,
        route_keys=given.route_keys,
        routes=given.routes,
        metrics=given.metrics[0] if given.metrics else None,
        workers=given.workers or len(os.sched_getaffinity(0)),
        limits=Limits(
            given.max_flows,
            given.max_unconfirmed,
            given.max_flows_per_prefix,
            given.flow_idle,
            given.flow_lifetime,
        ),
        state_dir=given.state_dir,
        flow_store=given.flow_store,
        take_over=given.take_over,
    )


def _options() -> ArgumentParser:
    options = ArgumentParser("firsthop relay", description=main.__doc__, allow_abbrev=False)
    option(
        options, "--listen", "FIRSTHOP_RELAY_LISTEN",
        "UDP address and port, ADDRESS:PORT or [ADDRESS]:PORT; repeat, or use commas.",
        read=listen_list, required=True,
    )  # fmt: skip
    option(
        options, "--route-keys", "FIRSTHOP_ROUTE_KEYS",
        "JSON file of route keys, mode 0600; read again on SIGHUP and when it changes.",
        read=Path, required=True,
    )  # fmt: skip
    option(
        options, "--routes", "FIRSTHOP_ROUTES",
        "YAML file of regions and their upstreams; read again on SIGHUP and when it changes."
        " Without it the relay only answers probes.",
        read=Path,
    )  # fmt: skip
    option(
        options, "--listen-tcp", "FIRSTHOP_RELAY_LISTEN_TCP",
        "Addresses and ports for ICE-TCP (RFC 6544), like --listen; default: none.",
        read=listen_list, default=[],
    )  # fmt: skip
    option(
        options, "--metrics", "FIRSTHOP_RELAY_METRICS",
        "HTTP ADDRESS:PORT for /metrics and /healthz; default: none.",
        read=listen_list, default=[],
    )  # fmt: skip
    option(
        options, "--workers", "FIRSTHOP_RELAY_WORKERS",
        "Worker processes; 0: one per core; default: 1.",
        read=number(int, 0, 256), default=1,
    )  # fmt: skip
    option(
        options, "--state-dir", "FIRSTHOP_RELAY_STATE_DIR",
        "Folder of this one relay, for its flow journal and --take-over; default: none.",
        read=Path,
    )  # fmt: skip
    switch(
        options, "--take-over", "FIRSTHOP_RELAY_TAKE_OVER",
        "Take over from a relay that runs on the same state folder, with all its flows.",
    )  # fmt: skip
    option(
        options, "--flow-store", "FIRSTHOP_FLOW_STORE",
        "redis:// URL of the store in which relays behind one address share their flows;"
        " default: none.",
        default="",
    )  # fmt: skip
    for flag, what, minimum, default in (
        ("--max-flows", "Maximum number of flows of all workers", 1, _DEFAULTS.flows),
        (
            "--max-unconfirmed",
            "Maximum number of unconfirmed flows of all workers",
            1,
            _DEFAULTS.unconfirmed,
        ),
        (
            "--max-flows-per-prefix",
            "Maximum number of flows of one /24 or IPv6 /56",
            1,
            _DEFAULTS.flows_per_prefix,
        ),
        (
            "--flow-idle",
            "Seconds until a flow without packets from its client ends",
            1.0,
            _DEFAULTS.idle_s,
        ),
        ("--flow-lifetime", "Seconds until any flow ends", 1.0, _DEFAULTS.lifetime_s),
    ):
        variable = f"FIRSTHOP_RELAY_{flag.removeprefix('--').replace('-', '_').upper()}"
        meaning = f"{what}; default: {default:g}."
        read = number(type(default), minimum)
        option(options, flag, variable, meaning, read=read, default=default)
    return options


def _check_redis(options: ArgumentParser, url: str) -> None:
    """Refuses a URL that the Redis client cannot use, before the workers try it."""
    if url:
        from firsthop_relay.survival.shared import connect

        try:
            connect(url)
        except ImportError:
            options.error("argument --flow-store: install firsthop[redis], the Redis client")
        except ValueError as error:
            options.error(f"argument --flow-store: {error}")
