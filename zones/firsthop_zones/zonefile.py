"""Reads zone files (RFC 1035 §5) into zones; a file with any fault is refused.

Supports `$ORIGIN`, `$INCLUDE`, `$TTL` (RFC 2308 §4) and BIND's `$GENERATE`. The caller decides
which files may be included.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import ValidationError

from firsthop_zones import names
from firsthop_zones.faults import MAX_FAULTS, DocumentError, DocumentFault, broken_rule
from firsthop_zones.generate import MAX_GENERATED, generated
from firsthop_zones.model import Record, Zone
from firsthop_zones.names import to_text
from firsthop_zones.rdata import Rdata
from firsthop_zones.record_types import canonical_type
from firsthop_zones.rules import zone_of, zone_problems
from firsthop_zones.zonefile_entries import Entry, ZoneSyntaxError, entries

ReadFile = Callable[[str], str]
"""Returns the text of an included file. Raises OSError, or ValueError if it may not be read."""
MAX_INCLUDES = 1000
"""Maximum number of `$INCLUDE` directives of one zone."""
MAX_INCLUDE_DEPTH = 8
"""Maximum depth of files that include each other, the zone file included."""
LARGEST_TTL = 2**31 - 1
"""Seconds (RFC 2181 §8)."""
_NAMES_IN = {
    "AFSDB": (1,),
    "CNAME": (0,),
    "DNAME": (0,),
    "DSYNC": (3,),
    "HTTPS": (1,),
    "KX": (1,),
    "LP": (1,),
    "MX": (1,),
    "NAPTR": (5,),
    "NS": (0,),
    "NSAP-PTR": (0,),
    "PTR": (0,),
    "PX": (1, 2),
    "RP": (0, 1),
    "RT": (1,),
    "SRV": (3,),
    "SVCB": (1,),
}
"""Type → positions of the domain names in its data, which may be relative to the origin."""
_GATEWAYS = {"AMTRELAY": (2, 3), "IPSECKEY": (1, 3)}
"""Type → positions of a gateway's kind and of the gateway, which is a name if the kind is 3."""
_CLASSES = re.compile(r"IN|CH|HS|CS|NONE|ANY|CLASS[0-9]{1,5}", re.IGNORECASE)
_TTL = re.compile(r"(?:[0-9]+[smhdw])+|[0-9]+", re.IGNORECASE)
_TTL_PART = re.compile(r"([0-9]+)([a-z]?)")
_SERIAL = re.compile(r"[0-9]{1,10}")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_OPEN_QUOTE = re.compile(r'(?:[^"\\]|\\.)*"')


class _Line(NamedTuple):
    """A record with absolute names; `ttl` is None if neither it nor a line above it states one."""

    source: str
    line: int
    owner: str
    ttl: int | None
    type: str
    words: list[str]

    def fault(self, rule: str) -> DocumentFault:
        """A fault at this place."""
        return DocumentFault(self.source, rule, self.line)


@dataclass(slots=True)
class _Reader:
    """The parser's state: defaults for the fields that a line omits, and the records so far."""

    origin: str | None
    read_file: ReadFile | None
    sources: list[str] = field(default_factory=list)
    """The file that is read, after those that include it."""
    owner: str | None = None
    default_ttl: int | None = None
    stated_ttl: int | None = None
    lines: list[_Line] = field(default_factory=list)
    problems: list[DocumentFault] = field(default_factory=list)
    included: int = 0
    generated: int = 0

    def read(self, text: str, source: str) -> None:
        """Processes all entries of a file; faults are appended to `problems`."""
        self.sources.append(source)
        try:
            for entry in entries(text):
                self._take_whole(entry, source)
        except ZoneSyntaxError as fault:
            self.problems.append(DocumentFault(source, fault.rule, fault.line))
        self.sources.pop()

    def _take_whole(self, entry: Entry, source: str) -> None:
        try:
            self._take(entry)
        except DocumentError as error:  # of an included file
            self.problems += error.problems
        except ValueError as error:
            self.problems.append(DocumentFault(source, str(error), entry.line))
        except Exception as error:
            error.add_note(f"{source}, line {entry.line}")
            raise

    def _take(self, entry: Entry) -> None:
        """Processes one entry. Raises ValueError with the violated rule."""
        if entry.owned and entry.words[0].startswith("$"):
            self._direct(entry.words[0].upper(), entry.words[1:], entry.line)
        else:
            self._record(entry.line, entry.words, owned=entry.owned)

    def _record(self, line: int, words: list[str], *, owned: bool) -> None:
        if owned:
            self.owner = self._name(words[0])
            words = words[1:]
        if self.owner is None:
            raise ValueError("the first record needs an owner")
        ttl, at = self._ttl_and_class(words)
        if at + 1 >= len(words):
            raise ValueError("a record needs a type and data")
        if ttl is None:
            ttl = self.stated_ttl if self.default_ttl is None else self.default_ttl
        else:
            self.stated_ttl = ttl
        type_ = words[at].upper()
        if type_ != "SOA":
            type_ = canonical_type(type_)
        data = self._absolute(type_, words[at + 1 :])
        self.lines.append(_Line(self.sources[-1], line, self.owner, ttl, type_, data))

    def _direct(self, directive: str, words: list[str], line: int) -> None:
        if directive == "$GENERATE":
            for each in generated(words, MAX_GENERATED - self.generated):
                self.generated += 1
                self._record(line, each, owned=True)
            return
        if directive == "$INCLUDE":
            self._include(words)
            return
        if directive not in ("$ORIGIN", "$TTL"):
            known = "$ORIGIN, $TTL, $INCLUDE and $GENERATE are"
            raise ValueError(f"{directive} is not supported; only {known}")
        if len(words) != 1:
            raise ValueError(f"{directive} needs exactly one argument")
        if directive == "$TTL":
            self.default_ttl = seconds(words[0])
        else:
            self.origin = self._name(words[0])

    def _include(self, words: list[str]) -> None:
        """Reads another file, relative to this one; origin and owner are as before afterwards."""
        if not 1 <= len(words) <= 2:
            raise ValueError("$INCLUDE needs a file, and optionally an origin")
        if self.read_file is None:
            raise ValueError("$INCLUDE is not supported here: no other file can be read")
        self.included += 1
        if self.included > MAX_INCLUDES or len(self.sources) >= MAX_INCLUDE_DEPTH:
            rule = f"at most {MAX_INCLUDES:,} files are included, {MAX_INCLUDE_DEPTH} deep"
            raise ValueError(rule)
        path = posixpath.normpath(
            posixpath.join(posixpath.dirname(self.sources[-1]), words[0].strip('"'))
        )
        if path in self.sources:
            raise ValueError(f"{path} includes itself")
        before = self.origin, self.owner
        try:
            text = self.read_file(path)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
        if len(words) == 2:
            self.origin = self._name(words[1])
        self.read(text, path)
        self.origin, self.owner = before

    def _ttl_and_class(self, words: list[str]) -> tuple[int | None, int]:
        """The TTL, if any, and the position of the type; TTL and class may be in either order."""
        ttl: int | None = None
        classed = False
        for at, word in enumerate(words):
            if ttl is None and word[0].isdigit():
                ttl = seconds(word)
            elif not classed and _CLASSES.fullmatch(word):
                if word.upper() not in ("IN", "CLASS1"):
                    raise ValueError(f"class {word.upper()} is not served, only IN")
                classed = True
            else:
                return ttl, at
        return ttl, len(words)

    def _absolute(self, type_: str, words: list[str]) -> list[str]:
        if type_ == "SOA":
            return [self._name(word) for word in words[:2]] + words[2:]
        positions = _name_positions(type_, words)
        if not positions or words[:1] == ["\\#"]:
            return words
        return [
            self._name(word) if position in positions else word
            for position, word in enumerate(words)
        ]

    def _name(self, word: str) -> str:
        if '"' in word and _OPEN_QUOTE.match(word):
            raise ValueError("a name must not be quoted")
        if word.endswith(".") and not _ends_escaped(word):
            return names.canonical(word)
        if self.origin is None:
            raise ValueError(f"{word} is relative, and no $ORIGIN is known")
        if word == "@":
            return self.origin
        return names.canonical(f"{word}.{self.origin.removeprefix('.')}")


def _name_positions(type_: str, words: Sequence[str]) -> Sequence[int]:
    """The positions of the domain names among the words of a record's data."""
    if type_ == "HIP":  # algorithm, tag and key, then rendezvous servers (RFC 8005 §6)
        return range(3, len(words))
    if type_ in _GATEWAYS:
        kind, gateway = _GATEWAYS[type_]
        return (gateway,) if words[kind : kind + 1] == ["3"] else ()
    return _NAMES_IN.get(type_, ())


def _ends_escaped(word: str) -> bool:
    """Whether the final dot is escaped and so belongs to a label."""
    before = word[:-1]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


def seconds(word: str) -> int:
    """Parses a TTL in seconds, or with units like `1h30m`. Raises ValueError."""
    if not _TTL.fullmatch(word) or len(word) > 32:
        raise ValueError(f"{word[:20]} is not a TTL")
    total = sum(int(number) * _UNITS[unit] for number, unit in _TTL_PART.findall(word.lower()))
    if total > LARGEST_TTL:
        raise ValueError(f"a TTL is at most {LARGEST_TTL} s (RFC 2181 §8)")
    return total


def read_zone(
    text: str, *, source: str, apex: str | None, read_file: ReadFile | None = None
) -> Zone:
    """Parses a zone file; duplicate records are merged with their lowest TTL.

    `apex` is the initial origin of relative names, and the SOA must belong to it. If it is None,
    the zone's apex is the owner of the SOA, and an $ORIGIN must precede the first relative name.
    The SOA's serial is dropped, as the plan's number replaces it. `read_file` gets the paths of
    included files, relative to what `source` is relative to; without it, none can be included.
    Raises DocumentError; its faults have the file as their field.
    """
    try:
        expected = None if apex is None else names.canonical(apex)
        reader = _Reader(expected, read_file)
        reader.read(text, source)
        _raise(reader.problems)
        lines = reader.lines
        return _zone(lines, expected, source)
    except ValueError as error:
        if isinstance(error, DocumentError):
            raise
        raise DocumentError([DocumentFault(source, str(error))]) from None


def _raise(problems: list[DocumentFault]) -> None:
    if problems:
        raise DocumentError(problems[:MAX_FAULTS])


def _zone(lines: list[_Line], expected: str | None, source: str) -> Zone:
    start = _start_of_authority(lines, expected, source)
    minimum = seconds(start.words[6])  # the default TTL if none is stated, as before RFC 2308
    servers, rest = [], []
    for each in lines:
        line = each if each.ttl is not None else each._replace(ttl=minimum)
        if line.type == "SOA":
            start = line
        elif line.type == "NS" and line.owner == start.owner:
            servers.append(line)
        else:
            rest.append(line)
    problems: list[DocumentFault] = []
    records = _records(rest, start.owner, problems)
    at_apex = _records(servers, start.owner, problems)
    if not servers:
        problems.append(start.fault(f"the apex {start.owner} has no NS"))
    _raise(problems)
    zone = _zone_of(start, at_apex, records, servers[-1])
    _raise([*_broken_rules(zone, rest)])
    return zone


def _start_of_authority(lines: list[_Line], expected: str | None, source: str) -> _Line:
    starts = [each for each in lines if each.type == "SOA"]
    if not starts:
        raise DocumentError([DocumentFault(source, "there is no SOA")])
    for other in starts[1:]:  # a zone transfer ends with the SOA that it began with
        if other[2:] != starts[0][2:]:
            raise DocumentError([other.fault("there is more than one SOA, and they differ")])
    start = starts[0]
    if expected not in (None, start.owner):
        raise DocumentError([start.fault(f"the SOA belongs to {start.owner}, not to {expected}")])
    try:
        if len(start.words) != 7 or not _SERIAL.fullmatch(start.words[2]):
            raise ValueError("must be: primary contact serial refresh retry expire minimum")
        for word in start.words[3:]:
            seconds(word)
    except ValueError as error:
        raise DocumentError([start.fault(f"rdata of SOA: {error}")]) from None
    return start


def _records(lines: list[_Line], apex: str, problems: list[DocumentFault]) -> tuple[Record, ...]:
    """The records without duplicates (RFC 2181 §5); faults are appended to `problems`."""
    found: dict[tuple[str, Rdata], Record] = {}
    for line in lines:
        _, _, owner, ttl, type_, words = line
        if zone_of(owner, (apex,)) is None:
            problems.append(line.fault(f"{owner} is not a name of zone {apex}"))
            continue
        try:
            record = Record(owner=owner, type=type_, ttl=ttl or 0, rdata=" ".join(words))
        except ValidationError as error:
            problems.append(line.fault(f"{owner} {type_}: {broken_rule(error.errors()[0])}"))
            continue
        key = (owner, record.parsed)
        same = found.get(key)
        if same is None or record.ttl < same.ttl:
            found[key] = record
    return tuple(found.values())


def _zone_of(
    start: _Line, servers: tuple[Record, ...], records: tuple[Record, ...], last: _Line
) -> Zone:
    """`last` is the last NS of the apex."""
    primary, contact, _, *times = start.words
    refresh, retry, expire, minimum = map(seconds, times)
    lowest_ttl = min((each.ttl for each in servers), default=start.ttl)
    try:
        return Zone(
            apex=start.owner,
            primary=primary,
            contact=contact,
            refresh=refresh,
            retry=retry,
            expire=expire,
            minimum=minimum,
            ttl=start.ttl or 0,
            name_servers=tuple(to_text(each.parsed.parts[0]) for each in servers),
            name_servers_ttl=None if lowest_ttl == start.ttl else lowest_ttl,
            records=records,
        )
    except ValidationError as error:
        rule = f"NS of the apex {start.owner}: {broken_rule(error.errors()[0])}"
        raise DocumentError([last.fault(rule)]) from None


def _broken_rules(zone: Zone, lines: list[_Line]) -> Iterator[DocumentFault]:
    """Violated rules between the zone's records, each with the line of its record."""
    problems = list(zone_problems([zone], []))
    if not problems:
        return
    first: dict[str, _Line] = {}
    for each in lines:
        first.setdefault(f"zones/{zone.apex}/records/{each.owner}/{each.type}", each)
    for problem in problems:
        line = first[problem.field]
        yield line.fault(f"{line.owner} {line.type}: {problem.rule}")
