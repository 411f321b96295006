"""The parts of an edge that need no sockets: addresses, counters, tables on disk, options."""

from __future__ import annotations

import os
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from firsthop import command_line
from firsthop.addresses import format_listen, parse_listen
from firsthop.document_files import DocumentFiles
from firsthop.edge.compiling.tables import TableStore
from firsthop.edge.following.file_source import load_keys, load_plan
from firsthop.edge.reporting.counters import CounterBoard
from firsthop.edge.settings import DnsOptions
from firsthop.edge.workers.activation import TableActivation
from firsthop.edge.workers.sockets import ListeningSockets
from firsthop.edge.workers.worker_pool import EdgeWorkerPool
from firsthop_geodata.prefixes import GeoTable
from firsthop_steering.compile.table import AnswerTable
from firsthop_steering.feed.snapshot import CredentialKey, KeySet, Plan
from firsthop_steering.plan.document import DocumentError
from support.edge_settings import feed_settings
from support.worlds import NOW, europe_and_america, plan_of, status_of

DOCUMENT = {
    "regions": [{"id": "fra", "latitude": 50, "longitude": 8}],
    "relays": [{"id": "fra-1", "region": "fra", "ipv4": "192.0.2.1"}],
    "services": [{"id": "s", "name": "s.edge.example."}],
}


def test_listening_addresses() -> None:
    """Lists of ADDRESS:PORT, IPv6 in brackets; and back."""
    pairs = parse_listen("127.0.0.1:53, [::1]:5300")
    assert pairs == [("127.0.0.1", 53), ("::1", 5300)]
    assert [format_listen(*each) for each in pairs] == ["127.0.0.1:53", "[::1]:5300"]
    assert parse_listen("none") == parse_listen("") == []


@pytest.mark.parametrize(
    "text",
    ["53", "localhost:53", "127.0.0.1", "::1:53", "[127.0.0.1]:53", "127.0.0.1:65536", ":53"],
)
def test_bad_listening_addresses_name_the_entry(text: str) -> None:
    """The refusal repeats what was given."""
    with pytest.raises(ValueError, match="must be") as caught:
        parse_listen(text)
    assert text in str(caught.value)


def test_counters_never_fall_when_a_worker_starts_again() -> None:
    """What a dead worker counted is kept; its successor's count is added."""
    board = CounterBoard()
    labels = {"zone": "z", "rcode": "NOERROR"}
    board.report("dns-0", 0, {"n": [(labels, 5)]})
    board.report("dns-1", 0, {"n": [(labels, 2)]})
    board.report("dns-0", 0, {"n": [(labels, 7)]})
    key = (("rcode", "NOERROR"), ("zone", "z"))
    assert board.totals() == {"n": {key: 9}}
    board.report("dns-0", 1, {"n": [(labels, 1)]})
    assert board.totals() == {"n": {key: 10}}


def test_tables_that_the_disk_does_not_take_are_in_memory(tmp_path: Path) -> None:
    """The same octets; the two newest stay open, and what the disk takes again is a file."""
    geo, plan = europe_and_america(), plan_of(DOCUMENT)
    whole = build(TableStore(tmp_path / "good"), plan, geo).read_bytes()
    folder = tmp_path / "tables"
    store = TableStore(folder)
    folder.rmdir()
    folder.write_text("in the way")
    path = build(store, plan, geo)
    assert path.read_bytes() == whole
    assert str(folder) in store.disk_error
    newer = [build(store, plan, geo, number=number) for number in range(2, 9)]
    assert len({*newer}) <= 2
    assert AnswerTable.open(newer[-1]).digest != AnswerTable.open(newer[-2]).digest
    folder.unlink()
    path = build(store, plan, geo)
    assert (path.parent, store.disk_error) == (folder, "")


def build(store: TableStore, plan: Plan, geo: GeoTable, number: int = 1) -> Path:
    return store.build(plan, status_of(number), geo, NOW)


def test_a_table_is_compiled_once_for_the_same_inputs(tmp_path: Path) -> None:
    """Found again by another process; another status, or an expired override, is another table."""
    geo, plan = europe_and_america(), plan_of(DOCUMENT)
    path = build(TableStore(tmp_path), plan, geo)
    before = path.stat().st_ino
    assert build(TableStore(tmp_path), plan, geo) == path
    assert path.stat().st_ino == before
    assert build(TableStore(tmp_path), plan, geo, number=2) != path
    expiring = plan_of(
        {
            **DOCUMENT,
            "overrides": [
                {
                    "id": "o",
                    "country": "DE",
                    "mode": "only",
                    "regions": ["fra"],
                    "expires_at": (NOW + timedelta(seconds=1)).isoformat(),
                }
            ],
        }
    )
    store = TableStore(tmp_path)
    early = store.build(expiring, status_of(), geo, NOW)
    assert store.build(expiring, status_of(), geo, NOW + timedelta(seconds=2)) != early


def test_a_damaged_table_is_made_again_and_old_ones_go(tmp_path: Path) -> None:
    """Damage on disk costs a compilation; the folder does not grow."""
    geo, plan = europe_and_america(), plan_of(DOCUMENT)
    store = TableStore(tmp_path)
    path = build(store, plan, geo)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert build(TableStore(tmp_path), plan, geo).read_bytes() == whole
    for number in range(10):
        build(store, plan, geo, number=number)
    assert len(list(tmp_path.glob("*.table"))) <= 4


YAML = """
transceiver_regions: [{id: eu, latitude: 50, longitude: 8}]
"""


def test_a_document_on_its_own_needs_wire_ids(tmp_path: Path) -> None:
    """There is no control plane to assign them; a missing file is told too."""
    path = tmp_path / "edge.yaml"
    with pytest.raises(DocumentError, match="cannot be read"):
        load_plan(path)
    path.write_text(YAML)
    with pytest.raises(DocumentError, match="transceiver_regions/eu/wire_id: must be given"):
        load_plan(path)
    path.write_text(YAML.replace("id: eu", "id: eu, wire_id: 7"))
    assert load_plan(path).number == int(path.stat().st_mtime)


def test_a_document_has_loopback_addresses_only_if_they_are_allowed(tmp_path: Path) -> None:
    """And never addresses that no client could use: no control plane refuses them for this edge."""
    path = tmp_path / "edge.yaml"
    region, relay = "regions: [{id: fra, latitude: 1, longitude: 1}]", "{id: r, region: fra, ipv4: "
    path.write_text(f"{region}\nrelays: [{relay}127.0.0.1}}]\n")
    assert load_plan(path, allow_loopback=True).document.relays
    with pytest.raises(DocumentError, match=r"relays/r/ipv4: no client could use 127\.0\.0\.1"):
        load_plan(path)
    path.write_text(f"{region}\nrelays: [{relay}169.254.169.254}}]\n")
    with pytest.raises(DocumentError, match="it is link-local"):
        load_plan(path, allow_loopback=True)


ZONE_FILE = """$ORIGIN a.test.
$TTL 300
@ SOA ns1 host 1 7200 900 1209600 60
@ NS ns1
ns1 A 192.0.2.1
"""


def test_a_document_is_as_new_as_its_newest_file(tmp_path: Path) -> None:
    """Zone files beside it count, since their serial is the plan's number; all are told."""
    path, zone = tmp_path / "edge.yaml", tmp_path / "zones/a.zone"
    path.write_text("zones: [{file: zones/a.zone}]\n")
    os.utime(path, (1_000_000, 1_000_000))
    files = DocumentFiles(path)
    with pytest.raises(DocumentError, match=r"zones/a\.zone cannot be read"):
        load_plan(path, files)
    assert files.stamps.keys() == {path, zone}
    zone.parent.mkdir()
    zone.write_text(ZONE_FILE)
    os.utime(zone, (2_000_000, 2_000_000))
    plan = load_plan(path, files)
    assert (plan.number, plan.created_at.timestamp()) == (2_000_000, 2_000_000)
    assert plan.document.zones[0].records[0].owner == "ns1.a.test."
    assert files.stamps[zone][:2] == (2_000_000 * 10**9, len(ZONE_FILE))
    zone.write_text(ZONE_FILE + "ns1 CNAME x\n")
    with pytest.raises(DocumentError, match=r"line 6: zones/a\.zone: ns1\.a\.test\. CNAME: "):
        load_plan(path)


def test_the_example_document_is_good() -> None:
    """The one that the README starts."""
    root = Path(__file__).parents[4]
    assert load_plan(root / "docs/examples/edge.yaml").document.services


def test_keys_of_an_edge_without_control_plane_are_made_once(tmp_path: Path) -> None:
    """Made on first use, private, and the same after a restart."""
    first = load_keys(tmp_path, NOW)
    assert load_keys(tmp_path, NOW) == first
    assert len(first.allocator_tokens) == 1
    for name in ("credential.keys", "allocator.token"):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


def keys_of(*ids: int, signing: int) -> KeySet:
    """Keys whose route part is their id over and over, made a day apart."""
    keys = tuple(
        CredentialKey(
            id=each,
            route=f"{each:02x}" * 32,
            password="00" * 32,
            created_at=NOW + timedelta(days=each),
        )
        for each in ids
    )
    return KeySet(number=1, lineage="test", created_at=NOW, signing=signing, keys=keys)


def test_dns_options_as_workers_are_told_them() -> None:
    """The JSON form, whose cookie secrets are those of the file if there is one."""
    options = DnsOptions(
        nsid="fra-1",
        rate_limit=50,
        rate_limit_exempt=(ip_network("192.0.2.0/24"),),
        max_udp=1000,
        ecs_from=(ip_network("2001:db8::/32"),),
        cookie_secrets=("ab" * 16,),
    )
    assert options.message(keys_of(1, signing=1), stale=True, workers=4, now=NOW) == {
        "nsid": "fra-1",
        "rate_limit": 13,
        "rate_limit_exempt": ["192.0.2.0/24"],
        "max_udp": 1000,
        "ecs_from": ["2001:db8::/32"],
        "cookie_secrets": ["ab" * 16],
        "stale": True,
    }
    assert "ab" * 16 not in repr(options)
    by_default = DnsOptions().message(None, stale=False, workers=2, now=NOW)
    assert by_default["rate_limit_exempt"] == ["127.0.0.0/8", "::1/128"]
    assert by_default["cookie_secrets"] == []
    assert (by_default["ecs_from"], by_default["rate_limit"]) == (None, 1000)


def test_cookie_secrets_of_a_fleet_follow_its_key_and_the_day() -> None:
    """The signing key's, today's first: a new day breaks no cookie."""

    def secrets(keys: KeySet, days: int = 0) -> Any:
        now = NOW + timedelta(days=days)
        return DnsOptions().message(keys, stale=False, workers=1, now=now)["cookie_secrets"]

    today, yesterday = secrets(keys_of(1, 2, signing=2))
    assert secrets(keys_of(2, signing=2), days=1)[1] == today
    assert secrets(keys_of(2, signing=2), days=-1)[0] == yesterday
    assert not {today, yesterday} & {*secrets(keys_of(1, 2, signing=1))}
    assert all(len(bytes.fromhex(each)) == 16 for each in (today, yesterday))
    assert keys_of(2, signing=2).keys[0].route not in today


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("--nsid", "x" * 59, "at most 58 octets"),
        ("--nsid", "é" * 30, "at most 58 octets"),
        ("--nsid", "a\nb", "printable"),
        ("--rate-limit", "-1", "greater than or equal to 0"),
        ("--rate-limit-exempt", "127.0.0.1/8", "host bits"),
        ("--ecs-from", "resolvers", "does not appear to be"),
        ("--cookie-secrets", "/nonexistent", "No such file"),
        ("--cookie-secrets", __file__, "a cookie secret is 32 hex digits"),
    ],
)
def test_a_bad_option_is_refused(tmp_path: Path, option: str, value: str, rule: str) -> None:
    """With its name and the rule, before anything is started."""
    state = tmp_path / "state"
    command = ["edge", "--config", "none.yaml", "--state-dir", str(state), option, value]
    result = CliRunner().invoke(command_line.build("edge"), command, env={"COLUMNS": "500"})
    assert result.exit_code == 2
    assert option in result.output
    assert rule in result.output
    assert not state.exists()


def test_options_are_told_when_they_change(tmp_path: Path) -> None:
    """Once each: keys that change bring other secrets."""
    pool = EdgeWorkerPool(feed_settings(tmp_path), ListeningSockets(), on_line=lambda *_: None)
    told: list[dict[str, Any]] = []
    pool._dns = [SimpleNamespace(send=told.append)]  # type: ignore[list-item]
    for keys in (None, None, keys_of(1, signing=1), keys_of(1, signing=1)):
        pool.send_options(keys, stale=False)
    assert [len(each["options"]["cookie_secrets"]) for each in told] == [0, 2]


def test_a_table_is_activated_when_all_workers_answer_from_it() -> None:
    """Whoever waits for the log line gets no SERVFAIL: it is not written for a part of them."""
    activation = TableActivation(["dns-0", "dns-1"])
    with capture_logs() as logged:
        activation.want(Path("a.table"), plan=1, status=1)
        activation.held("dns-0", "a.table")
        assert not logged
        activation.want(Path("b.table"), plan=2, status=1)
        activation.held("dns-1", "a.table")
        activation.held("dns-1", "b.table")
        assert not logged
        for _ in range(2):  # a worker that starts again loads the same
            activation.held("dns-0", "b.table")
        TableActivation([]).want(Path("c.table"), plan=3, status=1)
    assert [(each["event"], each["plan"]) for each in logged] == [
        ("table.activated", 2),
        ("table.activated", 3),
    ]
