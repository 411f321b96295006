"""Checks the project's own conventions: names, log events, docstrings, sizes of folders.

    python tools/conventions.py FOLDER…

Prints one line per violation, `file:line: rule`, and exits with 1 if there are any.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAX_MODULES = 16
"""Largest number of modules in one folder; more need sub-folders."""
ONE_FILE_A_NOUN = frozenset({"api", "commands"})
"""Folders without this limit, because users see one noun per file."""
LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
EVENT = re.compile(r"[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*")
"""`noun.verb`, as in `snapshot.accepted`."""


class Violation(NamedTuple):
    """A broken rule and its location."""

    path: Path
    line: int
    rule: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}"


class Module(NamedTuple):
    """A source file and its syntax tree."""

    path: Path
    tree: ast.Module


def violations(modules: list[Module]) -> Iterator[Violation]:
    """All violations, in the order of the rules."""
    for module in modules:
        yield from _docstring(module)
        yield from _events(module)
    yield from _names_defined_twice(modules)
    yield from _large_folders(modules)


def _docstring(module: Module) -> Iterator[Violation]:
    text = ast.get_docstring(module.tree)
    if not text or not text.splitlines()[0].strip():
        yield Violation(module.path, 1, "a module begins with a docstring of one line")


def _events(module: Module) -> Iterator[Violation]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and _is_log_call(node.func) and node.args:
            for text in _texts(node.args[0]):
                if not EVENT.fullmatch(text):
                    rule = f"log event {text!r} is not noun.verb"
                    yield Violation(module.path, node.lineno, rule)


def _is_log_call(function: ast.expr) -> bool:
    if not (isinstance(function, ast.Attribute) and function.attr in LOG_METHODS):
        return False
    logger = ast.unparse(function.value)
    return re.fullmatch(r"(self\.)?_?log(ger)?(\(\))?", logger) is not None


def _texts(argument: ast.expr) -> Iterator[str]:
    """The possible event names of an argument; a formatted part counts as a noun."""
    match argument:
        case ast.Constant(value=str() as text):
            yield text
        case ast.IfExp(body=first, orelse=second):
            yield from _texts(first)
            yield from _texts(second)
        case ast.JoinedStr(values=parts):
            yield "".join(
                part.value if isinstance(part, ast.Constant) else "noun" for part in parts
            )


def _names_defined_twice(modules: list[Module]) -> Iterator[Violation]:
    """Public classes and type aliases must have different names in all packages."""
    places: dict[str, list[tuple[Path, int]]] = defaultdict(list)
    for module in modules:
        for node in module.tree.body:
            name = _type_name(node)
            if name is not None and not name.startswith("_"):
                places[name].append((module.path, node.lineno))
    for name, found in sorted(places.items()):
        for path, line in found[1:]:
            first = f"{found[0][0]}:{found[0][1]}"
            yield Violation(path, line, f"{name} is defined already, at {first}")


def _type_name(node: ast.stmt) -> str | None:
    """The name of a class, or of an assignment that looks like a type's: `Slug = Annotated[…]`."""
    if isinstance(node, ast.ClassDef):
        return node.name
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
    elif isinstance(node, ast.AnnAssign):
        target = node.target
    else:
        return None
    if isinstance(target, ast.Name) and target.id[:1].isupper() and not target.id.isupper():
        return target.id
    return None


def _large_folders(modules: list[Module]) -> Iterator[Violation]:
    folders: dict[Path, int] = defaultdict(int)
    for module in modules:
        folders[module.path.parent] += module.path.name != "__init__.py"
    for folder, count in sorted(folders.items()):
        if count > MAX_MODULES and folder.name not in ONE_FILE_A_NOUN:
            yield Violation(folder, 1, f"{count} modules, {MAX_MODULES} at most: make sub-folders")


def main(arguments: list[str]) -> int:
    """Check all Python files below the folders."""
    paths = sorted(path for folder in arguments for path in Path(folder).rglob("*.py"))
    modules = [Module(path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths]
    found = list(violations(modules))
    for each in found:
        print(each)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
