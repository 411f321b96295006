"""Creates the tokens of machines before the control plane runs, in a file that it reads."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from pathlib import Path

from firsthop.secret_files import write_secret


class MachineTokens:
    """One token for each process, created on first use; the file has mode 0600.

    `firsthop controlplane --bootstrap-tokens` reads this file. The constructor raises ValueError if
    the file has other content.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tokens: dict[str, dict[str, str | None]] = {}
        if path.exists():
            try:
                self._tokens = {each["name"]: each for each in json.loads(path.read_text())}
            except (ValueError, TypeError, KeyError):
                rule = "must be a JSON list of tokens; if you remove it, new ones are made"
                raise ValueError(f"{path}: {rule}") from None

    def add(self, names: Iterable[tuple[str, str, str | None]]) -> None:
        """Creates the missing ones of these (name, role, scope), and writes the file.

        A token whose role or scope differs gets a new secret, which replaces the old one.
        """
        for name, role, scope in names:
            held = self._tokens.get(name)
            if held is None or (held["role"], held.get("scope")) != (role, scope):
                made = {"name": name, "role": role, "scope": scope}
                self._tokens[name] = made | {"secret": secrets.token_urlsafe(32)}
        write_secret(self.path, json.dumps(list(self._tokens.values()), indent=1))

    def __getitem__(self, name: str) -> str:
        return str(self._tokens[name]["secret"])
