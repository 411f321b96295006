"""A whole deployment, each group of processes at a place of its own, and how it is spoken to."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from field.asking import Query, ask_once
from field.namespaces import Place, Switch
from field.programs import Database, Program
from firsthop.controlplane.machine_tokens import MachineTokens
from firsthop.up.demo import SERVICE, demo_document
from support.geodata import give_geodata
from support.waiting import until

API_PORT, METRICS_PORT, RELAY_PORT, COUNTERS_PORT = 8080, 9153, 3478, 9154
TRACEBACK = "Traceback (most recent call last)"
VANTAGES = ("vantage-a", "vantage-b", "vantage-c")
EDGES = ("edge-1", "edge-2", "edge-3")
CONTROLPLANES = ("controlplane-1", "controlplane-2")
CLIENTS = {
    "iad": "63.251.128.0/24",
    "fra": "91.0.0.0/24",
    "gru": "200.160.0.0/24",
    "jnb": "196.25.0.0/24",
    "bom": "117.192.0.0/24",
    "sin": "203.116.0.0/24",
    "syd": "1.128.0.0/24",
}
"""Of each region a network that is nearest to it, by the bundled database."""


class Field:
    """Two control planes over one PostgreSQL, three edges, three probers, a relay a region.

    A context manager: everything is up inside, and gone afterwards.
    """

    def __init__(self, folder: Path, *, regions: Sequence[str] = tuple(CLIENTS)) -> None:
        self.folder = folder
        self.regions = tuple(regions)
        self.clients: Place
        """Where whoever asks stands."""
        self.database: Database
        self.programs: dict[str, Program] = {}
        """By name; the name of a place's first program is that of the place."""
        self.relays: dict[str, str] = {}
        """The address of each region's relay."""
        self.edges: dict[str, str] = {}
        """The address of each edge."""
        self._stack = ExitStack()
        self._tokens = MachineTokens(folder / "machine.tokens")
        self._queries = {region: Query(SERVICE, CLIENTS[region]) for region in self.regions}

    @property
    def secrets(self) -> Path:
        """What both control planes share: keys, and the admin's token."""
        return self.folder / "controlplane"

    def __enter__(self) -> Field:
        try:
            self._raise()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _raise(self) -> None:
        switch = self._stack.enter_context(Switch())
        self.clients = switch.place("clients", "10.77.0.100")
        self.database = Database(switch.place("database", "10.77.0.2"), self.folder / "database")
        self._stack.callback(self.database.close)
        self._stack.callback(self._end)
        for number, name in enumerate(CONTROLPLANES, 11):
            self._controlplane(switch.place(name, f"10.77.0.{number}"))
        for number, name in enumerate(EDGES, 21):
            self._edge(switch.place(name, f"10.77.0.{number}"))
        for number, name in enumerate(VANTAGES, 31):
            self._prober(switch.place(name, f"10.77.0.{number}"))
        document = self._document()
        for relay in document["relays"]:
            self._relay(switch.place(f"relay-{relay['region']}", relay["ipv4"]), relay)
        self._tokens.add([])
        self.database.start()
        for name in CONTROLPLANES:
            self.programs[name].start()
            until(lambda name=name: self._serves(name), f"{name} serves")  # type: ignore[misc]
        status, said = self.call("POST", "/v1/changesets", {"document": document})
        assert status in (200, 201), said
        self.tend()
        self.settle(within=240)

    def _document(self) -> dict[str, Any]:
        demo = demo_document(IPv4Network("10.77.1.0/24"), IPv4Network("10.77.2.0/24"))
        document = demo.model_dump(mode="json")
        for kind, key in (("regions", "id"), ("relays", "region")):
            document[kind] = [each for each in document[kind] if each[key] in self.regions]
        for relay in document["relays"]:
            # An answer is right or wrong here; a share that ramps up would be neither.
            relay |= {"ipv6": None, "probe": {"slow_start_s": 0}}
        return document

    def _program(self, name: str, place: Place, command: str, environment: dict[str, str]) -> None:
        environment = {"FIRSTHOP_STATE_DIR": str(self.folder / name), **environment}
        log = self.folder / f"{name}.log"
        self.programs[name] = Program(name, place, [command], environment, log)

    def _machine(self, name: str, role: str, scope: str | None = None) -> dict[str, str]:
        self._tokens.add([(name, role, scope)])
        urls = [f"http://{self.programs[each].place.address}:{API_PORT}" for each in CONTROLPLANES]
        return {"FIRSTHOP_API_URL": ",".join(urls), "FIRSTHOP_TOKEN": self._tokens[name]}

    def _controlplane(self, place: Place) -> None:
        give_geodata(self.secrets)
        environment = {
            "FIRSTHOP_DATABASE_URL": self.database.url,
            "FIRSTHOP_CONTROLPLANE_LISTEN": f"{place.address}:{API_PORT}",
            "FIRSTHOP_BOOTSTRAP_TOKENS": str(self._tokens.path),
            "FIRSTHOP_STATE_DIR": str(self.secrets),
        }
        self._program(place.name, place, "controlplane", environment)

    def _edge(self, place: Place) -> None:
        self.edges[place.name] = place.address
        give_geodata(self.folder / place.name)
        environment = self._machine(place.name, "edge") | {
            "FIRSTHOP_SNAPSHOT_KEY": str(self.secrets / "snapshot.pub"),
            "FIRSTHOP_DNS_LISTEN": f"{place.address}:53",
            "FIRSTHOP_DNS_WORKERS": "1",
            "FIRSTHOP_DNS_RATE_LIMIT": "0",
            "FIRSTHOP_ALLOCATOR_LISTEN": "none",
            "FIRSTHOP_METRICS_LISTEN": f"{place.address}:{METRICS_PORT}",
        }
        self._program(place.name, place, "edge", environment)

    def _prober(self, place: Place) -> None:
        environment = self._machine(place.name, "prober", place.name) | {
            "FIRSTHOP_PROBER_ID": place.name,
            "FIRSTHOP_VANTAGE": place.name,
        }
        self._program(place.name, place, "prober", environment)

    def _relay(self, place: Place, relay: dict[str, Any]) -> None:
        region, address = relay["region"], relay["ipv4"]
        self.relays[region] = address
        counters = f"{address}:{COUNTERS_PORT}"
        environment = {
            "FIRSTHOP_RELAY_LISTEN": f"{address}:{RELAY_PORT}",
            "FIRSTHOP_ROUTE_KEYS": str(self.secrets / "route.keys"),
            "FIRSTHOP_RELAY_METRICS": counters,
        }
        self._program(place.name, place, "relay", environment)
        agent = f"agent-{region}"
        beside = self._machine(agent, "agent", relay["id"]) | {
            "FIRSTHOP_RELAY_ID": relay["id"],
            "FIRSTHOP_RELAY_METRICS_URL": f"http://{counters}/metrics",
        }
        self._program(agent, place, "agent", beside)

    def tend(self, besides: Sequence[str] = ()) -> None:
        """Start whatever is not alive, as an init system would, but those."""
        if self.database.name not in besides:
            self.database.start()
        for name, program in self.programs.items():
            if name not in besides:
                program.start()

    def _end(self) -> None:
        for program in self.programs.values():
            program.kill()

    def broken(self) -> dict[str, str]:
        """Of every program that has met a fault of its own, the log from there on."""
        logs = {name: program.log.read_text() for name, program in self.programs.items()}
        return {n: log[log.index(TRACEBACK) :] for n, log in logs.items() if TRACEBACK in log}

    # Asking and telling.

    def answers(self, edge: str) -> dict[str, str]:
        """Where this edge sends each region's client; empty for one that it does not answer."""
        with self.clients.entered():
            return {
                region: ask_once(query, self.edges[edge], within_s=5.0)
                for region, query in self._queries.items()
            }

    def etag(self, path: str) -> str:
        """The version of an object, for `If-Match`."""
        return self._exchange("GET", path, None, "", {})[2]

    def call(
        self, method: str, path: str, body: Any = None, *, at: str = "", **headers: str
    ) -> tuple[int, Any]:
        """An admin's call to a control plane, the first that answers: status and JSON."""
        return self._exchange(method, path, body, at, headers)[:2]

    def _exchange(
        self, method: str, path: str, body: Any, at: str, headers: dict[str, str]
    ) -> tuple[int, Any, str]:
        secret = (self.secrets / "admin.token").read_text().strip()
        sent = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json", **headers}
        data = None if body is None else json.dumps(body).encode()
        failure: Exception | None = None
        for name in [at] if at else CONTROLPLANES:
            url = f"http://{self.programs[name].place.address}:{API_PORT}{path}"
            request = urllib.request.Request(url, method=method, data=data, headers=sent)
            try:
                with self.clients.entered(), urllib.request.urlopen(request, timeout=30) as answer:
                    said = json.loads(answer.read() or b"null")
                    return answer.status, said, answer.headers.get("ETag", "")
            except urllib.error.HTTPError as error:
                return error.code, json.loads(error.read() or b"null"), ""
            except OSError as error:
                failure = error
        raise AssertionError(f"no control plane answers: {failure}")

    def ready(self, edge: str) -> Any:
        """What an edge's /readyz says; None when nobody answers."""
        return self._json(f"http://{self.edges[edge]}:{METRICS_PORT}/readyz")

    def status(self, at: str = "") -> Any:
        """The status as a control plane tells it."""
        return self.call("GET", "/v1/status", at=at)[1]

    def _serves(self, controlplane: str) -> bool:
        address = self.programs[controlplane].place.address
        said = self._json(f"http://{address}:{API_PORT}/readyz")
        return said is not None and (self.secrets / "admin.token").exists()

    def _json(self, url: str) -> Any:
        try:
            with self.clients.entered(), urllib.request.urlopen(url, timeout=30) as answer:
                return json.loads(answer.read())
        except (OSError, ValueError):
            return None

    def settle(self, *, within: float) -> float:
        """Seconds until all is as it is without any fault; fails with what is not."""
        start = time.monotonic()
        while complaints := self.unsettled():
            assert time.monotonic() < start + within, f"not within {within:.0f} s: {complaints}"
            time.sleep(0.1)
        return time.monotonic() - start

    def unsettled(self) -> list[str]:
        """What is not yet as it is without any fault; empty when all is well."""
        return list(self._complaints())

    def _complaints(self) -> Iterator[str]:
        for name in CONTROLPLANES:
            if not self._serves(name):
                yield f"{name} is not ready"
                return
        told = [self.status(at=name) for name in CONTROLPLANES]
        leading = [each["leader"]["here"] for each in told]
        if sum(leading) != 1:
            yield f"of the control planes these lead: {leading}"
        if len(numbers := {each["number"] for each in told}) > 1:
            yield f"the control planes tell statuses {numbers}"
        for name, relay in told[0]["relays"].items():
            if relay["verdict"] != "up" or relay["draining"]:
                yield f"{name} is {relay['verdict']}: {relay['reason']}"
        for edge in EDGES:
            said = self.ready(edge)
            if said is None or not said["feed"]["connected_to"]:
                yield f"{edge} is not fed"
            elif (number := said["snapshots"]["status"]["number"]) not in numbers:
                yield f"{edge} answers by status {number}, not {numbers}"
            for region, address in self.answers(edge).items():
                if address != self.relays[region]:
                    yield f"{edge} sends {region} to {address or 'nobody'}"
