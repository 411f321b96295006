"""Zone semantics: every answer of random zones is what the algorithm of RFC 1034 §4.3.2 gives.

The algorithm stands here once more, as plainly as it can be written, over text.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

from firsthop_dns.answer.client_keys import TCP4, UDP4
from firsthop_dns.answer.counters import DnsCounters
from firsthop_dns.answer.generation import Tables
from firsthop_dns.answer.instance import Instance
from firsthop_dns.answer.respond import respond
from firsthop_dns.compile.zone import encode_zones
from firsthop_dns.table.layout import LONGEST_CHAIN, SECTION
from firsthop_steering.compile.compiler import compile_table
from firsthop_steering.compile.table import AnswerTable
from firsthop_steering.decision.decide import Steering
from firsthop_steering.decision.topology import Topology
from firsthop_steering.feed.snapshot import Plan, Status
from firsthop_steering.plan.document import Document, problems_in
from support.seeds import random_worlds
from support.worlds import NOW, europe_and_america

APEX = "t."
Records = dict[str, dict[str, list[str]]]


def tables(folder: Path, *zones: dict[str, Any], **more: Any) -> Tables:
    """What answers for these zones, and for what else a document has."""
    document = Document.model_validate({"zones": zones, **more})
    assert problems_in(document) == []
    plan = Plan(number=1, lineage="test", created_at=NOW, document=document)
    status = Status(number=1, lineage="test", created_at=NOW)
    compile_table(
        Steering(Topology(plan, europe_and_america()), status, NOW),
        folder / "table",
        lambda services: {SECTION: encode_zones(document, 1, services)},
    )
    return Tables(AnswerTable.open(folder / "table"), Instance.of(DnsCounters(), {"rate_limit": 0}))


def zone(apex: str, records: Records) -> dict[str, Any]:
    """A zone as the document has it."""
    return {
        "apex": apex,
        "primary": "ns.t.",
        "contact": "host.t.",
        "name_servers": ["ns.t."],
        "records": [
            {"owner": owner, "type": kind, "rdata": rdata}
            for owner, types in records.items()
            for kind, values in types.items()
            for rdata in values
        ],
    }


def ask(made: Tables, name: str, kind: str, transport: int = TCP4) -> dns.message.Message:
    """The answer to a question without EDNS."""
    asked = dns.message.make_query(name, kind)
    reply = respond(asked.to_wire(), ("192.0.2.1", 53), made, 0.0, transport)
    assert reply is not None
    answer = dns.message.from_wire(reply)
    assert asked.is_response(answer)
    return answer


@dataclass
class Expected:
    """What an answer must hold: (owner, type, rdata) of each section, but SOA as a flag."""

    rcode: str = "NOERROR"
    authoritative: bool = True
    answers: set[tuple[str, str, str]] = field(default_factory=set)
    referral: str = ""
    soa: bool = False


def above(name: str) -> str:
    """The name without its first label."""
    return name.partition(".")[2] or "."


def below(name: str, other: str) -> bool:
    """Whether `name` lies strictly below `other`."""
    return name.endswith("." + other)


class Algorithm:
    """RFC 1034 §4.3.2 with RFC 4592 §3.3 and RFC 6672 §3.2, for one zone."""

    def __init__(self, records: Records) -> None:
        self.records = records
        cuts = {name for name, types in records.items() if "NS" in types}
        self.cuts = {name for name in cuts if not any(below(name, cut) for cut in cuts)}
        own = [name for name in records if not any(below(name, cut) for cut in self.cuts)]
        self.exist = {APEX} if f"*.{APEX}" in records else {APEX, f"whoami.{APEX}"}
        for name in own:
            while name != ".":
                self.exist.add(name)
                name = above(name)

    def answer(self, name: str, kind: str) -> Expected:
        """The whole answer."""
        found = Expected()
        for hop in range(LONGEST_CHAIN + 2):
            cut = next((cut for cut in self.cuts if name == cut or below(name, cut)), "")
            if cut and (name != cut or kind != "DS"):
                found.authoritative, found.referral = bool(hop), cut
                return found
            types = self.types(name, found)
            if types is None:
                return found
            if "CNAME" not in types:
                found.answers |= {(name, kind, rdata) for rdata in types.get(kind, [])}
                found.soa = kind not in types
                return found
            link = (name, "CNAME", types["CNAME"][0])
            if link in found.answers or hop >= LONGEST_CHAIN:
                return found
            found.answers.add(link)
            name = types["CNAME"][0]
            if kind == "CNAME":
                return found
            if name != APEX and not below(name, APEX):
                return found
        return found

    def types(self, name: str, found: Expected) -> dict[str, list[str]] | None:
        """The records of a name, or those made for it; None when it does not exist."""
        if name in self.exist:
            return self.records.get(name, {})
        encloser = above(name)
        while encloser not in self.exist:
            encloser = above(encloser)
        renamed = self.records.get(encloser, {}).get("DNAME")
        if renamed:
            found.answers.add((encloser, "DNAME", renamed[0]))
            return {"CNAME": [name[: -len(encloser)] + renamed[0]], "DNAME": []}
        source = f"*.{encloser}"
        if source in self.exist:
            return self.records.get(source, {})
        found.rcode, found.soa = "NXDOMAIN", True
        return None


LABELS = ["a", "b", "*", "xyz"]


def random_name(draw: random.Random, most: int = 3) -> str:
    return ".".join(draw.choice(LABELS) for _ in range(draw.randrange(1, most + 1))) + "." + APEX


def random_zone(draw: random.Random) -> Records:
    """Records that the loader takes: no data beside a CNAME, or below a DNAME that is in force."""
    records: Records = {}
    for _ in range(draw.randrange(1, 10)):
        name, kind = random_name(draw), draw.choice(["A", "A", "TXT", "CNAME", "NS", "DNAME", "MX"])
        held = records.get(name, {})
        if kind in held or (held and "CNAME" in {*held, kind}):
            continue
        rdata = {"A": "192.0.2.1", "TXT": '"x"', "MX": f"5 {random_name(draw)}"}.get(kind)
        if kind == "DNAME":
            rdata = f"d{random_name(draw, 1)}"
        records.setdefault(name, {})[kind] = [rdata or random_name(draw)]
        if kind == "CNAME" and draw.random() < 0.1:
            records[name] = {kind: ["else.where."]}
    cuts = [name for name, types in records.items() if "NS" in types]
    for renamed in [name for name, types in records.items() if "DNAME" in types]:
        if not any(renamed == cut or below(renamed, cut) for cut in cuts):
            records = {name: each for name, each in records.items() if not below(name, renamed)}
    return records


@random_worlds(24)
def test_random_zones_answer_by_the_algorithm(tmp_path: Path, rng: random.Random) -> None:
    """For every name of three labels: rcode, AA, answer, referral, SOA."""
    records = random_zone(rng)
    made, algorithm = tables(tmp_path, zone(APEX, records)), Algorithm(records)
    names = {random_name(rng, 4) for _ in range(60)} | set(records)
    for name in sorted(names):
        for kind in ("A", "TXT", "CNAME", "DNAME", "MX", "DS"):
            expected, answer = algorithm.answer(name, kind), ask(made, name, kind)
            said = {
                (str(rrset.name), dns.rdatatype.to_text(rrset.rdtype), str(rdata))
                for rrset in answer.answer
                for rdata in rrset
            }
            referral = [str(each.name) for each in answer.authority if each.rdtype == 2]
            soa = [each for each in answer.authority if each.rdtype == 6]
            told = Expected(
                dns.rcode.to_text(answer.rcode()),
                bool(answer.flags & dns.flags.AA),
                said,
                referral[0] if referral else "",
                bool(soa),
            )
            assert told == expected, (name, kind, records)


def test_glue_inside_the_cut_is_told_whole_or_not_at_all(tmp_path: Path) -> None:
    """RFC 9471 §2: in-domain glue or TC; glue of others where there is room."""
    hosts = [f"ns{number}.sub.t." for number in range(12)]
    records: Records = {host: {"A": ["192.0.2.9"], "AAAA": ["2001:db8::9"]} for host in hosts}
    records["sub.t."] = {"NS": hosts}
    records["other.t."] = {"NS": ["ns1.sub.t.", "ns.t."]}
    records["ns.t."] = {"A": ["192.0.2.53"]}
    made = tables(tmp_path, zone(APEX, records))
    whole = ask(made, "x.sub.t.", "A")
    assert sum(len(rrset) for rrset in whole.additional) == 24
    cut_short = ask(made, "x.sub.t.", "A", UDP4)
    assert cut_short.flags & dns.flags.TC
    assert (cut_short.answer, cut_short.authority, cut_short.additional) == ([], [], [])
    siblings = {str(each.name) for each in ask(made, "x.other.t.", "A").additional}
    assert siblings == {"ns1.sub.t.", "ns.t."}


def test_glue_whose_name_begins_with_an_asterisk(tmp_path: Path) -> None:
    """RFC 9471 §3.1: in-domain glue like any other; `*` in data is a plain label."""
    records: Records = {"sub.t.": {"NS": ["*.sub.t."]}, "*.sub.t.": {"A": ["192.0.2.9"]}}
    answer = ask(tables(tmp_path, zone(APEX, records)), "x.sub.t.", "A")
    assert [str(each) for each in answer.additional] == ["*.sub.t. 300 IN A 192.0.2.9"]


def test_an_answer_with_name_servers_brings_their_addresses(tmp_path: Path) -> None:
    """Those of the zone, where there is room."""
    records: Records = {"ns.t.": {"A": ["192.0.2.53"], "AAAA": ["2001:db8::53"]}}
    made = tables(tmp_path, zone(APEX, records))
    told = [str(each) for each in ask(made, "t.", "NS", UDP4).additional]
    assert told == ["ns.t. 300 IN A 192.0.2.53", "ns.t. 300 IN AAAA 2001:db8::53"]
    records["ns.t."]["A"] = [f"192.0.2.{number}" for number in range(40)]
    answer = ask(tables(tmp_path, zone(APEX, records)), "t.", "NS", UDP4)
    assert (len(answer.answer), answer.additional) == (1, [])
    assert not answer.flags & dns.flags.TC


def test_answers_with_hosts_bring_their_addresses(tmp_path: Path) -> None:
    """RFC 1035 §3.3.9, RFC 2782: of MX and SRV too, also where a wildcard has them."""
    records: Records = {
        "m.t.": {"MX": ["5 mx.w.t.", "9 mx.else.", "9 sub.t."], "SRV": ["1 2 3 mx.w.t."]},
        "*.w.t.": {"A": ["192.0.2.7"], "MX": ["5 *.w.t."]},
        "sub.t.": {"NS": ["ns.w.t."]},
    }
    made = tables(tmp_path, zone(APEX, records))
    for kind in ("MX", "SRV"):
        told = [str(each) for each in ask(made, "m.t.", kind).additional]
        assert told == ["mx.w.t. 300 IN A 192.0.2.7"]
    assert ask(made, "x.w.t.", "MX").additional == []
    assert [str(each.name) for each in ask(made, "x.sub.t.", "A").additional] == ["ns.w.t."]


def test_a_dname_that_nests_itself_is_applied_once(tmp_path: Path) -> None:
    """As NSD does; its chain would not end, and Knot gives up after some links."""
    records: Records = {
        "a.t.": {"DNAME": ["b.a.t."]},
        "own.t.": {"DNAME": ["own.t."]},
        "alias.t.": {"CNAME": ["x.a.t."]},
        "up.t.": {"DNAME": ["t."]},
        "*.w.t.": {"CNAME": ["x.a.t."]},
    }
    made = tables(tmp_path, zone(APEX, records))
    for name, links in (("x.a", 1), ("x.own", 1), ("alias", 2), ("y.w", 2)):
        answer = ask(made, f"{name}.t.", "A")
        assert answer.rcode() == dns.rcode.NOERROR
        assert answer.authority == []
        assert sum(each.rdtype == dns.rdatatype.CNAME for each in answer.answer) == links
    assert ask(made, "x.up.up.t.", "A").rcode() == dns.rcode.NXDOMAIN  # twice, and it ends


def test_a_name_too_long_for_its_dname(tmp_path: Path) -> None:
    """RFC 6672 §2.2: YXDOMAIN, with the DNAME."""
    target = ".".join(["y" * 63] * 3) + "."
    made = tables(tmp_path, zone(APEX, {"d.t.": {"DNAME": [target]}}))
    answer = ask(made, "x" * 63 + ".d.t.", "A")
    assert dns.rcode.to_text(answer.rcode()) == "YXDOMAIN"
    assert [each.rdtype for each in answer.answer] == [dns.rdatatype.DNAME]
    assert answer.flags & dns.flags.AA
    assert len(ask(made, "x" * 60 + ".d.t.", "A").answer) == 2


def test_a_service_binding_brings_its_target_s_addresses(tmp_path: Path) -> None:
    """RFC 9460 §4.1: where there is room."""
    records: Records = {
        "web.t.": {"HTTPS": ["1 pool.t. alpn=h2"], "A": ["192.0.2.1"]},
        "pool.t.": {"A": [f"192.0.2.{n}" for n in range(40)]},
        "self.t.": {"HTTPS": ["1 . alpn=h2"], "A": ["192.0.2.1"]},
    }
    made = tables(tmp_path, zone(APEX, records))
    assert len(ask(made, "web.t.", "HTTPS").additional[0]) == 40
    assert ask(made, "web.t.", "HTTPS", UDP4).additional == []
    assert [str(each.name) for each in ask(made, "self.t.", "HTTPS", UDP4).additional] == [
        "self.t."
    ]


def test_a_zone_at_the_root_renames_and_denies(tmp_path: Path) -> None:
    """The root is written whole and not pointed at, so fields stand an octet earlier."""
    made = tables(tmp_path, zone(".", {".": {"DNAME": ["o.test."]}}))
    answer = ask(made, "foo.", "A")
    assert [str(each) for each in answer.answer[1]] == ["foo.o.test."]
    assert answer.answer[1].ttl == 300


def test_ds_at_the_end_of_an_alias(tmp_path: Path) -> None:
    """RFC 4035 §3.1.4.1: the parent's, whether the chain was known beforehand or not."""
    records: Records = {
        "sub.t.": {"NS": ["ns.sub.t."], "DS": ["7 13 2 " + "ab" * 32]},
        "bare.t.": {"NS": ["ns.sub.t."]},
        "one.t.": {"CNAME": ["sub.t."]},
        "two.t.": {"CNAME": ["bare.t."]},
        "all.t.": {"DNAME": ["t."]},
    }
    made = tables(tmp_path, zone(APEX, records))
    for name in ("one.t.", "sub.all.t."):
        assert ask(made, name, "DS").answer[-1].rdtype == dns.rdatatype.DS
        assert ask(made, name, "A").authority[0].rdtype == dns.rdatatype.NS
    for name in ("two.t.", "bare.all.t."):
        assert ask(made, name, "DS").authority[0].rdtype == dns.rdatatype.SOA


def test_a_steered_name_has_other_types_too(tmp_path: Path) -> None:
    """Mail, policy and certificates at an apex whose addresses are steered; the rest is NODATA."""
    mail = {"MX": ["10 mail.other."], "TXT": ['"v=spf1 -all"'], "CAA": ['0 issue "ca.example"']}
    made = tables(
        tmp_path,
        zone("t.", {"t.": mail}),
        regions=[{"id": "fra", "latitude": 50, "longitude": 8}],
        relays=[{"id": "fra-1", "region": "fra", "ipv4": "192.0.2.10"}],
        services=[{"id": "apex", "name": "t."}],
    )
    for kind, (rdata,) in mail.items():
        assert [each.to_text() for each in ask(made, "t.", kind).answer[0]] == [rdata]
    assert [each.to_text() for each in ask(made, "t.", "A").answer[0]] == ["192.0.2.10"]
    assert ask(made, "t.", "HTTPS").answer
    assert len(ask(made, "t.", "NS").answer[0]) == 1
    for kind in ("AAAA", "CNAME", "SRV"):
        assert (ask(made, "t.", kind).answer, ask(made, "t.", kind).rcode()) == ([], 0)


def test_hidden_records_change_no_answer(tmp_path: Path) -> None:
    """What lies at and below a delegation, or in a zone inside, is as if it were not there."""
    plain: Records = {"s.t.": {"NS": ["ns.s.t."]}, "ns.s.t.": {"A": ["192.0.2.1"]}}
    hidden: Records = {
        "s.t.": {"NS": ["ns.s.t."], "TXT": ["x"], "A": ["192.0.2.9"], "DNAME": ["y."]},
        "ns.s.t.": {"A": ["192.0.2.1"], "TXT": ["x"]},
        "c.s.t.": {"CNAME": ["z."], "TXT": ["x"]},
        "*.s.t.": {"TXT": ["x"]},
        "b.s.t.": {"NS": ["ns.s.t."]},
        "x.i.t.": {"A": ["192.0.2.3"]},
    }
    sections = [
        encode_zones(Document.model_validate({"zones": zones}), 1, [])
        for zones in (
            [zone("t.", each), zone("i.t.", {"a.i.t.": {"A": ["192.0.2.2"]}})]
            for each in (plain, hidden)
        )
    ]
    assert sections[0] == sections[1]
