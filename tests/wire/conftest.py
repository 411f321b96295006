"""A server to ask: our own over the sample document, or FIRSTHOP_WIRE_TARGET=host:port.

The tests speak only wire, so any server that has the sample zone can be put to them (README.md).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.instance import TCP_IDLE_S
from wire import sample
from wire.target import FOREIGN_DEADLINE_S, Target

FOREIGN = os.environ.get("FIRSTHOP_WIRE_TARGET", "")
"""host:port of a server that is not ours."""
LACKS = set(os.environ.get("FIRSTHOP_WIRE_LACKS", "").split())
"""What of the sample zone it could not load: see `needs`."""
EVERYWHERE = bool(FOREIGN) or os.environ.get("FIRSTHOP_WIRE_TRANSPORTS") == "all"
"""Whether every test is asked over all transports, not only those whose answers differ by it."""
FAMILIES = {"IPv4": "127.0.0.1", "IPv6": "::1"}
PROTOCOLS = {"UDP": False, "TCP": True}
MARKERS = (
    "transports: the answer depends on family or protocol, so all are asked",
    "steered: asks for names that only a steering server has",
    "decision(reason): the RFCs allow more than our choice; a foreign server may differ",
    "needs(what): a part of the sample zone that not every server can load",
)
MakeServer = Callable[..., Target]


def pytest_configure(config: pytest.Config) -> None:
    """Names the markers of this folder."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """UDP over IPv4, and the other transports where the answer depends on them.

    One function answers for all of them; `test_transports.py` shows that it does.
    """
    every = EVERYWHERE or metafunc.definition.get_closest_marker("transports") is not None
    for fixture, choices in (("target", FAMILIES), ("tcp", PROTOCOLS)):
        if fixture in metafunc.fixturenames:
            chosen = list(choices) if every else list(choices)[:1]
            values = [choices[each] for each in chosen]
            scope = "session" if fixture == "target" else "function"
            metafunc.parametrize(fixture, values, ids=chosen, indirect=True, scope=scope)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a foreign server is not asked, and what it may answer otherwise."""
    if not FOREIGN:
        return
    for item in items:
        needs = {each.args[0] for each in item.iter_markers("needs")}
        decision = item.get_closest_marker("decision")
        if item.get_closest_marker("steered"):
            item.add_marker(pytest.mark.skip(reason="steered names are ours"))
        elif needs & LACKS:
            item.add_marker(pytest.mark.skip(reason=f"its zone lacks {needs & LACKS}"))
        elif decision:
            item.add_marker(pytest.mark.xfail(reason=decision.args[0], strict=False))


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> sample.Compiled:
    """The sample, compiled."""
    return sample.compiled(tmp_path_factory.mktemp("wire"))


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """The tables of the next plan."""
    return sample.tables(sample.compiled(tmp_path_factory.mktemp("newer"), number=8))


@pytest.fixture
def serve(table: sample.Compiled) -> Iterator[MakeServer]:
    """Starts servers of ours with options of a test's own; a foreign target has none."""
    if FOREIGN:
        pytest.skip("looks into our own server")
    stack = ExitStack()

    def start(host: str = "127.0.0.1", *, idle_s: float = TCP_IDLE_S, **options: Any) -> Target:
        tables = sample.tables(table, **options)
        tables.instance.tcp_idle_s = idle_s
        server = stack.enter_context(sample.running([(host, 0)], tables))
        return Target(host, server.addresses[0][1], server)

    with stack:
        yield start


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest, table: sample.Compiled) -> Iterator[Target]:
    """The server under test, at an address of the family that the parameter is of."""
    if FOREIGN:
        host, _, port = FOREIGN.rpartition(":")
        host = host.strip("[]")
        if (":" in host) != (request.param == "::1"):
            pytest.skip("FIRSTHOP_WIRE_TARGET is one address")
        yield Target(host, int(port), patience_s=FOREIGN_DEADLINE_S)
        return
    with sample.running([(request.param, 0)], sample.tables(table)) as server:
        yield Target(request.param, server.addresses[0][1], server)


@pytest.fixture
def tcp(request: pytest.FixtureRequest) -> bool:
    """Whether to ask over TCP."""
    return bool(request.param)
