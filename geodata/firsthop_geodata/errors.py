"""What goes wrong with geo data, and whose file it is: one root class, one line a message."""

from __future__ import annotations

from pathlib import Path


class GeodataError(Exception):
    """A geo file was refused: foreign, corrupt, unreadable or not to be written.

    ``path`` is the file (or folder, or URL) at fault and ``rule`` the rule it broke; ``str()``
    is ``"<path>: <rule>"`` on one line. Whatever was in use before stays as it was.
    """

    def __init__(self, path: Path | str, rule: str) -> None:
        self.path = str(path)
        self.rule = " ".join(rule.split())
        super().__init__(f"{self.path}: {self.rule}")
