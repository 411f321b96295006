"""Tokens of machines, created before the control plane runs: a file that it reads."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from pathlib import Path

from firsthop.secret_files import write_secret


class MachineTokens:
    """One token for each process, created on first use; file mode 0600.

    The file is what `firsthop controlplane --bootstrap-tokens` reads. ValueError names one that
    does not hold tokens.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tokens: dict[str, dict[str, str | None]] = {}
        if path.exists():
            try:
                self._tokens = {each["name"]: each for each in json.loads(path.read_text())}
            except (ValueError, TypeError, KeyError):
                rule = "must be a JSON list of tokens; remove it, and new ones are made"
                raise ValueError(f"{path}: {rule}") from None

    def add(self, names: Iterable[tuple[str, str, str | None]]) -> None:
        """Creates the missing ones of these (name, role, scope), and writes the file."""
        for name, role, scope in names:
            self._tokens.setdefault(
                name,
                {"name": name, "role": role, "scope": scope, "secret": secrets.token_urlsafe(32)},
            )
        write_secret(self.path, json.dumps(list(self._tokens.values()), indent=1))

    def __getitem__(self, name: str) -> str:
        return str(self._tokens[name]["secret"])
