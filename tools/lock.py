"""Writes the lock files of `requirements/`, or checks them against `pyproject.toml`.

    python tools/lock.py write    # asks the package index, through pip
    python tools/lock.py check    # reads files only

A lock file pins a version of every distribution, with the SHA-256 of each of its files that the
index has, so that it installs on any platform with `pip install --require-hashes`. It names no
index. `write` keeps the versions that the files pin: delete a line to take the newest one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pip._internal.commands import create_command

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "requirements"
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;\\]+)", re.MULTILINE)
INCLUDE = re.compile(r"^-r (\S+)\.txt$", re.MULTILINE)
INDEX_FORMAT = "application/vnd.pypi.simple.v1+json"
"""The index's JSON form, PEP 691."""
EDITABLE = "editables"
"""What hatchling needs for an editable install, and names only when it is asked to make one."""
ENVIRONMENTS = [
    {
        "python_version": version,
        "python_full_version": f"{version}.0",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "platform_system": "Linux",
        "sys_platform": "linux",
        "os_name": "posix",
    }
    for version, machine in product(("3.11", "3.12", "3.13"), ("x86_64", "aarch64"))
]
"""Where the lock files are complete: a dependency of any of these is pinned."""


class Lock(NamedTuple):
    """A lock file: its requirements, and the lock files that are installed with it."""

    name: str
    requirements: list[Requirement]
    includes: tuple[str, ...] = ()


class Distribution(NamedTuple):
    """A resolved distribution and its requirements."""

    name: str
    version: str
    requires: tuple[Requirement, ...]


def main() -> int:
    """The command line; 1 if a check fails."""
    if sys.argv[1:] == ["write"]:
        write()
        return 0
    if sys.argv[1:] != ["check"]:
        sys.exit(__doc__)
    faults = [fault for lock in locks() for fault in check(lock)]
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


def locks() -> list[Lock]:
    """All lock files, each after those that it includes."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, build = pyproject["project"], pyproject["build-system"]["requires"]
    extras = {
        name: [*map(Requirement, requirements)]
        for name, requirements in project["optional-dependencies"].items()
    }
    base = [*map(Requirement, project["dependencies"])]

    def of_extra(name: str) -> Iterator[Requirement]:
        for requirement in extras[name]:
            if requirement.name == project["name"]:
                for inner in sorted(requirement.extras):
                    yield from of_extra(inner)
            else:
                yield requirement

    return [
        Lock("build", [*map(Requirement, build), Requirement(EDITABLE)]),
        Lock("controlplane", [*base, *of_extra("controlplane")]),
        Lock("all", [*base, *of_extra("all")], ("controlplane",)),
        Lock("dev", [*base, *of_extra("dev")], ("all",)),
    ]


def check(lock: Lock) -> Iterator[str]:
    """What is wrong with a lock file, one line per fault."""
    text, pinned = _text(lock.name), pins(lock.name)
    if "://" in text:
        yield f"requirements/{lock.name}.txt: names a host"
    for entry in re.split(r"(?m)^(?=\S)", text):
        if PIN.match(entry) and "--hash=sha256:" not in entry:
            yield f"requirements/{lock.name}.txt: {entry.split()[0]} has no hash"
    for requirement in lock.requirements:
        version = pinned.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            yield (
                f"requirements/{lock.name}.txt: {requirement} of pyproject.toml is not pinned "
                "there: run `make lock`"
            )


def pins(name: str) -> dict[str, str]:
    """Versions by distribution that a lock file and its includes pin."""
    text = _text(name)
    found: dict[str, str] = {
        canonicalize_name(each): version for each, version in PIN.findall(text)
    }
    for include in INCLUDE.findall(text):
        found |= pins(include)
    return found


def _text(name: str) -> str:
    path = FOLDER / f"{name}.txt"
    return path.read_text() if path.exists() else ""


def write() -> None:
    """Resolve with the newest versions where none is pinned, and write all lock files."""
    wanted = locks()
    resolved = resolve_everywhere([each for lock in wanted for each in lock.requirements], kept())
    ask = hash_source()
    members: dict[str, set[str]] = {}
    for lock in wanted:
        needed = closure(lock.requirements, resolved)
        included = set[str]().union(*(members[each] for each in lock.includes))
        members[lock.name] = needed.keys() | included
        entries = [
            entry(resolved[name], needed[name], ask(resolved[name]))
            for name in sorted(needed.keys() - included)
        ]
        (FOLDER / f"{lock.name}.txt").write_text(render(lock, entries))


def kept() -> dict[str, str]:
    """Pinned versions by distribution, without those that pyproject.toml no longer allows."""
    found = {name: version for lock in locks() for name, version in pins(lock.name).items()}
    for lock in locks():
        for requirement in lock.requirements:
            name = canonicalize_name(requirement.name)
            if name in found and not requirement.specifier.contains(found[name], prereleases=True):
                del found[name]
    return found


def resolve_everywhere(
    requirements: list[Requirement], kept: Mapping[str, str]
) -> dict[str, Distribution]:
    """What any of `ENVIRONMENTS` needs: pip resolves for the present one, so it is asked again
    for what only others need."""
    wanted = {*map(str, requirements), *(f"{name}=={version}" for name, version in kept.items())}
    while True:
        resolved = resolve(wanted)
        missing = closure(requirements, resolved) - resolved.keys()
        if not missing:
            return resolved
        wanted |= missing


def resolve(requirements: Iterable[str]) -> dict[str, Distribution]:
    """One version of every distribution that pip would install, by canonical name."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    done = subprocess.run(
        [*command, "--report", "-", *sorted(requirements)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return {
        canonicalize_name(each["metadata"]["name"]): _distribution(each["metadata"])
        for each in json.loads(done.stdout)["install"]
    }


def _distribution(metadata: Mapping[str, Any]) -> Distribution:
    return Distribution(
        canonicalize_name(metadata["name"]),
        metadata["version"],
        (*map(Requirement, metadata.get("requires_dist") or ()),),
    )


def closure(
    requirements: Iterable[Requirement], resolved: Mapping[str, Distribution]
) -> dict[str, frozenset[str]]:
    """What the requirements need in any of `ENVIRONMENTS`: name → extras."""
    found: dict[str, frozenset[str]] = {}
    waiting = [*requirements]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        extras = found.get(name, frozenset()) | requirement.extras
        if found.get(name) != extras:
            found[name] = extras
            needs = resolved[name].requires if name in resolved else ()
            waiting += [each for each in needs if _applies(each, extras)]
    return found


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(
        marker.evaluate(environment | {"extra": extra})
        for environment in ENVIRONMENTS
        for extra in ("", *extras)
    )


def hash_source() -> Callable[[Distribution], list[str]]:
    """A function that asks the index for the digests of a distribution's files, with pip's own
    session, so that its index, proxy and certificates are used."""
    command: Any = create_command("download")
    options, _ = command.parse_args([])
    session = command._build_session(options)

    @cache
    def ask(distribution: Distribution) -> list[str]:
        url = f"{options.index_url.rstrip('/')}/{distribution.name}/"
        page = session.get(url, headers={"Accept": INDEX_FORMAT})
        page.raise_for_status()
        return sorted(
            file["hashes"]["sha256"]
            for file in page.json()["files"]
            if not file.get("yanked") and is_file_of(file["filename"], distribution)
        )

    return ask


def is_file_of(filename: str, distribution: Distribution) -> bool:
    """Whether a file is a wheel or source distribution of this version."""
    stem = filename.removesuffix(".tar.gz").removesuffix(".zip")
    parts = filename.split("-") if filename.endswith(".whl") else stem.rsplit("-", 1)
    return len(parts) > 1 and parts[1] == distribution.version


def entry(distribution: Distribution, extras: frozenset[str], digests: list[str]) -> str:
    """A distribution's lines of a lock file; pip asks for the extras that others require of it."""
    selected = f"[{','.join(sorted(extras))}]" if extras else ""
    options = "".join(f" \\\n    --hash=sha256:{digest}" for digest in digests)
    return f"{distribution.name}{selected}=={distribution.version}{options}"


def render(lock: Lock, entries: list[str]) -> str:
    """The text of a lock file."""
    head = "# Written by `make lock`. Install it with `pip install --require-hashes -r`."
    return "\n".join([head, *(f"-r {each}.txt" for each in lock.includes), *entries]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
