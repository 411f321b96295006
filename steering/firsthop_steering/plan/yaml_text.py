"""Reads YAML text as JSON values, each with the line where it is; writes what it reads alike.

Unquoted scalars are read by the core schema of YAML 1.2.2 (§10.3.2): YAML 1.1 would read
`2001:10:20:30:40:50:1:2` as a number, `030` as 24, `NO` as false and dates as something else than
text. Infinities and NaN are text, as JSON has none. A short text can stand for a value of
exponential or endless size, so aliases are refused, and so are tags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from firsthop_zones.faults import DocumentError, DocumentFault

MAX_CHARACTERS = 32 * 2**20
"""Maximum length of a text; a change set at the admin API may have as many octets."""
MAX_DEPTH = 32
"""Maximum number of collections inside each other; a document needs 6."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_OTHER_BASE = re.compile(r"0o[0-7]{1,20}|0x[0-9a-fA-F]{1,15}")
_NUMBER = re.compile(
    r"[-+]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:[eE][-+]?[0-9]{1,2})?"
)
"""Longer numbers stay text: no field takes one, and a double would not hold it."""

Scalar = str | int | float | bool | None


@dataclass(slots=True)
class YamlNode:
    """One value of the text; in a mapping its line is that of its key, else its own, from 1."""

    line: int
    content: Scalar | dict[str, YamlNode] | list[YamlNode]

    def value(self) -> Any:
        """The value in the types of `json.loads`."""
        if isinstance(self.content, dict):
            return {key: each.value() for key, each in self.content.items()}
        if isinstance(self.content, list):
            return [each.value() for each in self.content]
        return self.content

    def line_of(self, path: tuple[int | str, ...]) -> int:
        """The line of the deepest value that exists on `path`."""
        node = self
        for part in path:
            inner: YamlNode | None = None
            if isinstance(node.content, dict):
                inner = node.content.get(str(part))
            elif isinstance(node.content, list) and isinstance(part, int):
                inner = node.content[part]
            if inner is None:
                break
            node = inner
        return node.line


def read_yaml(text: str) -> YamlNode:
    """The one value in `text`; null if there is none.

    Raises DocumentError: if the text is not YAML, or has an alias, a tag or a repeated key, or
    exceeds MAX_CHARACTERS or MAX_DEPTH.
    """
    if len(text) > MAX_CHARACTERS:
        raise _refused(f"has more than {MAX_CHARACTERS} characters")
    reader = _YamlReader()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            reader.take(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        rule = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
        line = (
            min(mark.line, text.count("\n")) + 1 if mark else None
        )  # an error at the end is on the last line
        raise _refused(f"is not YAML: {rule}", line) from None
    if reader.repeated:
        raise DocumentError(reader.repeated)
    return reader.root or YamlNode(1, None)


def _refused(rule: str, line: int | None = None) -> DocumentError:
    return DocumentError([DocumentFault("document", rule, line)])


@dataclass(slots=True)
class _YamlReader:
    """Builds the value from the parser's events, without recursion."""

    root: YamlNode | None = None
    repeated: list[DocumentFault] = field(default_factory=list)
    _open: list[YamlNode] = field(default_factory=list)
    _keys: list[tuple[str, int] | None] = field(default_factory=list)
    """For each open collection, the key (and its line) whose value comes next."""

    def take(self, event: Any) -> None:
        """Process one event. Raises DocumentError."""
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise _refused("aliases (*name) are not supported: write the value out", line)
        if isinstance(event, yaml.NodeEvent):
            self._node(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._open.pop()
            self._keys.pop()

    def _node(self, event: Any, line: int) -> None:
        if event.tag not in (None, "!"):
            raise _refused("tags (!name) are not supported", line)
        if isinstance(event, yaml.ScalarEvent):
            if self._is_key(event, line):
                return
            self._place(YamlNode(line, _scalar(event.value) if event.implicit[0] else event.value))
            return
        if len(self._open) >= MAX_DEPTH:
            raise _refused("is nested too deeply", line)
        node = YamlNode(line, {} if isinstance(event, yaml.MappingStartEvent) else [])
        self._place(node)
        self._open.append(node)
        self._keys.append(None)

    def _is_key(self, event: Any, line: int) -> bool:
        """Notes a scalar as the key of the next value, if one is due."""
        if not self._open or self._keys[-1] is not None:
            return False
        members = self._open[-1].content
        if not isinstance(members, Mapping):
            return False
        if event.value in members:
            self.repeated.append(DocumentFault(event.value, "key is repeated", line))
        self._keys[-1] = event.value, line
        return True

    def _place(self, node: YamlNode) -> None:
        if not self._open:
            if self.root is not None:
                raise _refused("must be one document", node.line)
            self.root = node
            return
        content = self._open[-1].content
        if isinstance(content, list):
            content.append(node)
            return
        if self._keys[-1] is None:
            raise _refused("a key must be text", node.line)
        assert isinstance(content, dict)
        (key, node.line), self._keys[-1] = self._keys[-1], None
        content[key] = node


def _scalar(text: str) -> Scalar:
    """An unquoted scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OTHER_BASE.fullmatch(text):
        return int(text, 0)
    return float(text) if _NUMBER.fullmatch(text) else text


def write_yaml(value: Any) -> str:
    """The YAML text of a JSON value; `read_yaml` reads the same value from it."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """PyYAML quotes what YAML 1.1 does not read as text; this one also what YAML 1.2 does not."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> Any:
    style = None if isinstance(_scalar(text), str) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)
