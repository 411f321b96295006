"""The options of `firsthop relay`: the command line before the environment, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from firsthop.commands.relay import _settings as settings_of
from firsthop_relay.flows.limits import Limits

LEAST = ("--listen", "192.0.2.1:3478", "--route-keys", "keys")


def test_what_is_not_said_has_its_default() -> None:
    settings = settings_of(LEAST)
    assert settings.udp == [("192.0.2.1", 3478)]
    assert settings.route_keys == Path("keys")
    assert (settings.tcp, settings.metrics, settings.routes) == ([], None, None)
    assert (settings.workers, settings.limits) == (1, Limits())
    assert (settings.state_dir, settings.flow_store, settings.take_over) == (None, "", False)


def test_addresses_come_by_commas_and_by_repetition() -> None:
    more = ("--listen", "192.0.2.2:1,[2001:db8::1]:2", "--listen-tcp", "192.0.2.1:443")
    settings = settings_of((*LEAST, *more))
    assert settings.udp == [("192.0.2.1", 3478), ("192.0.2.2", 1), ("2001:db8::1", 2)]
    assert settings.tcp == [("192.0.2.1", 443)]


def test_the_environment_says_it_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "FIRSTHOP_RELAY_LISTEN": "192.0.2.9:1,192.0.2.8:2",
        "FIRSTHOP_ROUTE_KEYS": "from-there",
        "FIRSTHOP_RELAY_MAX_FLOWS": "7",
        "FIRSTHOP_RELAY_FLOW_IDLE": "2.5",
        "FIRSTHOP_RELAY_STATE_DIR": "state",
        "FIRSTHOP_RELAY_TAKE_OVER": "True",
        "FIRSTHOP_RELAY_METRICS": "",
    }.items():
        monkeypatch.setenv(name, value)
    settings = settings_of(())
    assert settings.udp == [("192.0.2.9", 1), ("192.0.2.8", 2)]
    assert (settings.route_keys, settings.state_dir) == (Path("from-there"), Path("state"))
    assert (settings.limits.flows, settings.limits.idle_s) == (7, 2.5)
    assert settings.take_over
    assert settings.metrics is None
    assert settings_of(LEAST).udp == [("192.0.2.1", 3478)]


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        ((), {}, "required: --listen, --route-keys"),
        (("--listen", "", "--route-keys", "k"), {}, "--listen: needs at least one ADDRESS:PORT"),
        (("--listen", "x"), {}, "--listen: x: must be ADDRESS:PORT with an IP address"),
        ((*LEAST, "--workers", "257"), {}, "--workers: must be 0 to 256, not 257"),
        ((*LEAST, "--workers", "two"), {}, "--workers: 'two' is not a number"),
        ((*LEAST, "--max-flows", "0"), {}, "--max-flows: must be 1 or more, not 0"),
        ((*LEAST, "--flow-idle", "nan"), {}, "--flow-idle: must be 1 or more, not nan"),
        ((*LEAST, "--metrics", "192.0.2.1:1,192.0.2.1:2"), {}, "--metrics: must be one"),
        ((*LEAST, "--take-over"), {}, "--take-over: needs --state-dir"),
        ((*LEAST, "--max-flow", "1"), {}, "unrecognized arguments: --max-flow"),
        (LEAST, {"FIRSTHOP_RELAY_WORKERS": "x"}, "--workers: 'x' is not a number"),
        (LEAST, {"FIRSTHOP_RELAY_TAKE_OVER": "x"}, "FIRSTHOP_RELAY_TAKE_OVER: must be true or"),
    ],
)
def test_nonsense_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    environment: dict[str, str],
    words: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        settings_of(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
