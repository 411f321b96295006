"""The package's error class; a message is one line with the file and the violated rule."""

from __future__ import annotations

from pathlib import Path


class GeodataError(Exception):
    """A geo file was refused (of another kind, corrupt, unreadable) or could not be written.

    ``path`` is the file (or folder, or URL) at fault and ``rule`` the violated rule; ``str()`` is
    ``"<path>: <rule>"`` on one line. The file in use before is unchanged.
    """

    def __init__(self, path: Path | str, rule: str) -> None:
        self.path = str(path)
        self.rule = " ".join(rule.split())
        super().__init__(f"{self.path}: {self.rule}")
