"""The declarative document: the whole configuration as one value, and the rules between objects.

`apply`, `export`, revisions, snapshots and `edge --config` share it. Rules within one object are in
its model.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from firsthop_steering.plan.fairness import impossible
from firsthop_steering.plan.families import mixed_families
from firsthop_steering.plan.model import (
    Override,
    Region,
    Relay,
    Service,
    Transceiver,
    TransceiverRegion,
)
from firsthop_steering.plan.yaml_text import YamlNode, read_yaml
from firsthop_zones.faults import MAX_FAULTS, DocumentError, DocumentFault, broken_rule
from firsthop_zones.model import Model, Zone
from firsthop_zones.rules import zone_of, zone_problems, zone_warnings
from firsthop_zones.zonefile import read_zone

__all__ = [
    "Document",
    "DocumentError",
    "DocumentFault",
    "load_yaml",
    "problems_in",
    "warnings_in",
    "zone_of",
]


_YAML_1_1_WORDS = frozenset(("yes", "no", "on", "off", "y", "n"))


class Document(Model):
    """The configuration of a whole deployment."""

    regions: tuple[Region, ...] = ()
    relays: tuple[Relay, ...] = ()
    transceiver_regions: tuple[TransceiverRegion, ...] = ()
    transceivers: tuple[Transceiver, ...] = ()
    zones: tuple[Zone, ...] = ()
    services: tuple[Service, ...] = ()
    overrides: tuple[Override, ...] = ()

    def canonical(self) -> bytes:
        """The canonical JSON text: keys sorted, no spaces."""
        return json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":")
        ).encode()

    def digest(self) -> str:
        """SHA-256 of `canonical()`, in hex."""
        return hashlib.sha256(self.canonical()).hexdigest()


def problems_in(document: Document) -> list[DocumentFault]:
    """Violated rules between the document's objects; empty if it is valid."""
    return [
        *duplicates(document),
        *_relay_problems(document),
        *_transceiver_problems(document),
        *zone_problems(document.zones, document.services),
        *_service_problems(document),
        *_override_problems(document),
        *impossible(
            document.services,
            document.overrides,
            (document.regions, document.relays),
            (document.transceiver_regions, document.transceivers),
        ),
    ]


def warnings_in(document: Document) -> list[DocumentFault]:
    """Valid but probably unintended settings: name servers without an address, and services whose
    regions have different address families."""
    return [
        *zone_warnings(document.zones, document.services),
        *mixed_families(document.services, document.overrides, document.regions, document.relays),
    ]


def _repeated(values: Iterable[Any]) -> set[Any]:
    return {value for value, times in Counter(values).items() if times > 1}


def duplicates(document: Document) -> Iterator[DocumentFault]:
    """Ids that occur more than once in a collection."""
    collections: dict[str, Iterable[str]] = {
        "regions": (each.id for each in document.regions),
        "relays": (each.id for each in document.relays),
        "transceiver_regions": (each.id for each in document.transceiver_regions),
        "transceivers": (each.id for each in document.transceivers),
        "zones": (each.apex for each in document.zones),
        "services": (each.id for each in document.services),
        "overrides": (each.id for each in document.overrides),
    }
    for collection, ids in collections.items():
        for each in sorted(_repeated(ids)):
            yield DocumentFault(f"{collection}/{each}", "must be unique, but occurs more than once")


def _relay_problems(document: Document) -> Iterator[DocumentFault]:
    regions = {region.id for region in document.regions}
    transceiver_regions = {region.id for region in document.transceiver_regions}
    taken: dict[tuple[object, str, int], str] = {}
    for relay in document.relays:
        if relay.region not in regions:
            yield DocumentFault(f"relays/{relay.id}/region", f"names no region: {relay.region}")
        far = relay.probe.transceiver_region
        if far is not None and far not in transceiver_regions:
            yield DocumentFault(
                f"relays/{relay.id}/probe/transceiver_region", f"names no transceiver region: {far}"
            )
        for address in (relay.ipv4, relay.ipv6):
            if address is None:
                continue
            for transport, port in (("UDP", relay.udp_port), ("TCP", relay.tcp_port)):
                if port is None:
                    continue
                other = taken.setdefault((address, transport, port), relay.id)
                if other != relay.id:
                    yield DocumentFault(
                        f"relays/{relay.id}/ipv{address.version}",
                        f"{address} {transport} port {port} already belongs to relay {other}",
                    )


def _transceiver_problems(document: Document) -> Iterator[DocumentFault]:
    regions = {region.id for region in document.transceiver_regions}
    for each in document.transceivers:
        if each.region not in regions:
            yield DocumentFault(
                f"transceivers/{each.id}/region", f"names no transceiver region: {each.region}"
            )
    for collection, values in (
        ("transceiver_regions", document.transceiver_regions),
        ("transceivers", document.transceivers),
    ):
        ids: dict[int, str] = {}
        for value in values:
            if value.wire_id is not None:
                other = ids.setdefault(value.wire_id, value.id)
                if other != value.id:
                    yield DocumentFault(
                        f"{collection}/{value.id}/wire_id",
                        f"{value.wire_id} already belongs to {other}",
                    )
    taken: dict[tuple[object, int], str] = {}
    for each in document.transceivers:
        other = taken.setdefault((each.host, each.port), each.id)
        if other != each.id:
            yield DocumentFault(
                f"transceivers/{each.id}/port",
                f"{each.host} port {each.port} already belongs to transceiver {other}",
            )


def _service_problems(document: Document) -> Iterator[DocumentFault]:
    relay_regions = {region.id for region in document.regions}
    transceiver_regions = {region.id for region in document.transceiver_regions}
    for name in sorted(_repeated(service.name for service in document.services)):
        yield DocumentFault("services", f"two services have the name {name}")
    for service in document.services:
        pool = relay_regions if service.pool == "relays" else transceiver_regions
        for region in service.regions or ():
            if region not in pool:
                yield DocumentFault(
                    f"services/{service.id}/regions", f"names no region of its pool: {region}"
                )
        for region in service.transceiver_regions or ():
            if region not in transceiver_regions:
                yield DocumentFault(
                    f"services/{service.id}/transceiver_regions",
                    f"names no transceiver region: {region}",
                )


def _override_problems(document: Document) -> Iterator[DocumentFault]:
    services = {service.id: service for service in document.services}
    relay_regions = {region.id for region in document.regions}
    transceiver_regions = {region.id for region in document.transceiver_regions}
    for override in document.overrides:
        allowed = relay_regions | transceiver_regions
        if override.service is not None:
            service = services.get(override.service)
            if service is None:
                yield DocumentFault(
                    f"overrides/{override.id}/service", f"names no service: {override.service}"
                )
            else:
                allowed = relay_regions if service.pool == "relays" else transceiver_regions
        for region in override.regions:
            if region not in allowed:
                yield DocumentFault(
                    f"overrides/{override.id}/regions", f"names no region: {region}"
                )
    matches = Counter(
        (each.service, each.cidr or each.asn or each.country or each.continent, each.expires_at)
        for each in document.overrides
    )
    for override in document.overrides:
        match = override.cidr or override.asn or override.country or override.continent
        if matches[(override.service, match, override.expires_at)] > 1:
            yield DocumentFault(
                f"overrides/{override.id}", f"another override matches {match} as specifically"
            )


def load_yaml(
    text: str,
    read_file: Callable[[str], str] | None = None,
    *,
    also: Callable[[Document], Iterable[DocumentFault]] = lambda _: (),
) -> Document:
    """Reads and checks a document in YAML.

    A zone may be `{file: path}`: `read_file` returns the text of the zone file at a path, or raises
    OSError or DocumentError; without `read_file` such zones are refused. `also` finds further
    problems. Raises DocumentError, whose problems name field, rule and line. Types are as strict as
    in JSON.
    """
    root = read_yaml(text)
    raw = root.value()
    if not isinstance(raw, dict):
        raise DocumentError([DocumentFault("document", "must be a mapping of collections", 1)])
    from_files = _zones_in_files(raw, root, read_file)
    listed = raw.get("zones")
    count = len(listed) if isinstance(listed, list) else 0
    written = [i for i in range(count) if i not in from_files]
    if from_files:
        raw["zones"] = [raw["zones"][i] for i in written]
    try:
        document = Document.model_validate_json(json.dumps(raw), strict=True)
    except ValidationError as error:
        raise DocumentError(
            [_fault(each, root, written) for each in error.errors()[:MAX_FAULTS]]
        ) from None
    if from_files:
        zones = from_files | dict(zip(written, document.zones, strict=True))
        document = document.model_copy(update={"zones": tuple(zones[i] for i in sorted(zones))})
    problems = [*problems_in(document), *also(document)]
    if problems:
        places = _places(document)
        raise DocumentError([_located(each, places, root) for each in problems])
    return document


def _places(document: Document) -> dict[str, tuple[int | str, ...]]:
    """The paths in the text of the objects that problems name; of records, too."""
    places: dict[str, tuple[int | str, ...]] = {}
    for collection in Document.model_fields:
        for index, each in enumerate(getattr(document, collection)):
            name = each.apex if isinstance(each, Zone) else each.id
            places[f"{collection}/{name}"] = collection, index
    for index, zone in enumerate(document.zones):
        for number, record in enumerate(zone.records):
            place = f"zones/{zone.apex}/records/{record.owner}/{record.type}"
            places.setdefault(place, ("zones", index, "records", number))
    return places


def _located(
    problem: DocumentFault, places: dict[str, tuple[int | str, ...]], root: YamlNode
) -> DocumentFault:
    """The problem with the line of the deepest value that its field names."""
    name, rest = problem.field, list[str]()
    while name not in places and "/" in name:
        name, _, last = name.rpartition("/")
        rest.insert(0, last)
    return replace(problem, line=root.line_of((*places.get(name, (name,)), *rest)))


def _fault(error: Any, root: YamlNode, written: list[int]) -> DocumentFault:
    """A fault with its line; `written` has the places in the text of the zones that were read."""
    path: tuple[int | str, ...] = error["loc"]
    if path[:1] == ("zones",) and len(path) > 1:
        path = ("zones", written[int(path[1])], *path[2:])
    field = "/".join(map(str, path)) or "document"
    return DocumentFault(field, _yaml_rule(error), root.line_of(path))


def _yaml_rule(error: Any) -> str:
    """The broken rule, with what to write in YAML instead of a value of another type."""
    given = error["input"]
    if error["type"] == "string_type" and isinstance(given, int | float):
        return "must be text: write it in quotes"
    if error["type"] == "bool_type" and str(given).lower() in _YAML_1_1_WORDS:
        return f"must be true or false: YAML 1.2 reads {given} as text"
    return broken_rule(error)


def _zones_in_files(
    raw: dict[str, Any], root: YamlNode, read_file: Callable[[str], str] | None
) -> dict[int, Zone]:
    """The zones of the form `{file: path}`, by their places in the list."""
    problems: list[DocumentFault] = []
    zones: dict[int, Zone] = {}
    listed = raw.get("zones")
    for index, zone in enumerate(listed if isinstance(listed, list) else ()):
        if not isinstance(zone, dict) or "file" not in zone:
            continue
        try:
            zones[index] = _zone_file(zone, read_file)
        except DocumentError as error:
            problems += error.problems
        except ValueError as error:
            path = ("zones", index, "file")
            field = "/".join(map(str, path))
            problems.append(DocumentFault(field, str(error), root.line_of(path)))
    if problems:
        raise DocumentError(problems)
    return zones


def _zone_file(zone: dict[str, Any], read_file: Callable[[str], str] | None) -> Zone:
    path, apex = zone["file"], zone.get("apex")
    if read_file is None:
        raise ValueError("zone files cannot be read here; the document must contain the zone")
    if not isinstance(path, str) or not isinstance(apex, str | None):
        raise ValueError("must be a path; an apex beside it must be a name")
    if others := sorted(map(str, zone.keys() - {"file", "apex"})):
        raise ValueError(f"only apex is allowed beside it, not {', '.join(others)}")
    try:
        text = read_file(path)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    return read_zone(text, source=path, apex=apex, read_file=read_file)
