"""The control plane as a process: secrets from the state folder, migration, listener, signals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from firsthop.controlplane.explaining import Explainer
from firsthop.open_folders import make_readable
from firsthop_controlplane.access.keyfiles import (
    master_key,
    publish_region_keys,
    publish_route_keys,
    publish_routes,
    publish_turn_secrets,
    signing_key,
)
from firsthop_controlplane.access.tokens import BootstrapToken
from firsthop_controlplane.app import addresses, create_app
from firsthop_controlplane.bodies.json_text import parse
from firsthop_controlplane.configuration.change_impact import Explain
from firsthop_controlplane.deps import DEPS
from firsthop_controlplane.errors import ControlPlaneError, Refused
from firsthop_controlplane.settings import Settings
from firsthop_controlplane.store.engine import unavailable
from firsthop_controlplane.store.migrate import migrate
from firsthop_controlplane.wiring import Parts
from firsthop_geodata.prefixes import GeoTable
from firsthop_net.http_server import HttpRunner
from firsthop_relay.flows.route_text import write_routes
from firsthop_relay.flows.routes import routes_of
from firsthop_steering.decision.availability import unavailable_transceivers
from firsthop_steering.feed.snapshot import KeySet, Plan, Status

log = structlog.get_logger(__name__)
DATABASE_PATIENCE_S = 30.0
"""How long to wait for a database that is starting."""
_TOKENS = TypeAdapter(tuple[BootstrapToken, ...])


class StartError(Exception):
    """The reason why the control plane could not start, as one line for the terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneOptions:
    """Options of `firsthop controlplane`."""

    settings: Settings
    state_dir: Path
    publish_dir: Path | None = None
    """Folder for the files of other machines: `snapshot.pub`, `route.keys`, `routes.json`,
    `regions/` and `turn.secrets`; None: the state folder."""
    bootstrap_tokens: Path | None = None


def run_controlplane(options: ControlPlaneOptions, explainer: Explainer) -> None:
    """Serve until SIGTERM or SIGINT. Raises StartError."""
    asyncio.run(_until_signalled(options, explainer))


async def _until_signalled(options: ControlPlaneOptions, explainer: Explainer) -> None:
    serving = asyncio.ensure_future(_serve(options, explainer))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


async def _serve(options: ControlPlaneOptions, explainer: Explainer) -> None:
    try:
        async with running_controlplane(options, explainer, explainer.geo):
            gc.freeze()  # code and schemas are never garbage, so collections need not scan them
            await asyncio.Event().wait()
    except ControlPlaneError as error:
        raise StartError(str(error)) from None


@contextlib.asynccontextmanager
async def running_controlplane(
    options: ControlPlaneOptions, explain: Explain | None = None, geo: GeoTable | None = None
) -> AsyncIterator[tuple[str, ...]]:
    """Serve while the context is open; returns the control plane's URLs."""
    settings = options.settings
    options.state_dir.mkdir(parents=True, exist_ok=True)
    publish_dir = options.publish_dir or options.state_dir
    make_readable(publish_dir)
    parts = Parts(
        signing_key=signing_key(options.state_dir, publish_dir),
        master_key=master_key(options.state_dir),
        explain=explain,
        geo=geo,
        publish=lambda plan, keys, status: _publish(plan, keys, status, publish_dir),
        admin_token_file=options.state_dir / "admin.token",
        bootstrap=BootstrapFile(options.bootstrap_tokens) if options.bootstrap_tokens else tuple,
    )
    await _migrated(settings.database_url)
    app = create_app(settings, parts)
    runner = HttpRunner(app, shutdown_timeout=settings.shutdown_s)
    try:
        await runner.setup()
        await _listen(runner, settings)
        urls = tuple(addresses(runner))
        app[DEPS].leadership.advertise(settings.advertise_url or urls[0])
        log.info("controlplane.serving", urls=urls)
        yield urls
    finally:
        await runner.cleanup()


def _publish(plan: Plan, keys: KeySet, status: Status | None, publish_dir: Path) -> None:
    """Writes the files that relays, transceivers and TURN servers need: secrets, and for relays
    also the routes, which are not secret."""
    drained = unavailable_transceivers(status) if status is not None else frozenset[str]()
    publish_routes(write_routes(routes_of(plan.document, drained)), publish_dir)
    publish_route_keys(keys, publish_dir)
    publish_region_keys(plan, keys, publish_dir)
    publish_turn_secrets(keys, publish_dir)


class BootstrapFile:
    """A file of tokens, which may be changed at run time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, ...] | None = None
        self._tokens: Sequence[BootstrapToken] = ()

    def __call__(self) -> Sequence[BootstrapToken]:
        """The tokens now in the file. Raises StartError if it cannot be read."""
        try:
            status = self._path.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size)
            if seen != self._seen:
                self._tokens = _TOKENS.validate_python(parse(self._path.read_bytes()))
        except OSError as error:
            raise StartError(f"bootstrap tokens {self._path}: {error.strerror}") from None
        except (ValidationError, Refused) as error:
            raise StartError(f"bootstrap tokens {self._path}: {_reason(error)}") from None
        self._seen = seen
        return self._tokens


def _reason(error: ValidationError | Refused) -> str:
    """The fault, without the tokens' secrets."""
    if isinstance(error, Refused):
        return error.detail
    fault = error.errors(include_input=False, include_url=False)[0]
    return f"{'/'.join(map(str, fault['loc']))}: {fault['msg']}"


async def _migrated(url: str) -> None:
    deadline = asyncio.get_running_loop().time() + DATABASE_PATIENCE_S
    while True:
        try:
            await migrate(url)
            return
        except ControlPlaneError:
            raise
        except Exception as error:
            if not unavailable(error):
                raise StartError(f"the database cannot be used: {_first_line(error)}") from error
            if asyncio.get_running_loop().time() > deadline:
                raise StartError(f"the database cannot be reached: {_first_line(error)}") from None
            log.info("database.awaited", reason=_first_line(error))
            await asyncio.sleep(0.5)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


async def _listen(runner: web.AppRunner, settings: Settings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.port, reuse_address=True).start()
    except OSError as error:
        where = f"{settings.host}:{settings.port}"
        if error.errno == errno.EADDRINUSE:
            raise StartError(f"port {settings.port} of {settings.host} is in use") from None
        raise StartError(f"cannot listen on {where}: {error.strerror}") from None
