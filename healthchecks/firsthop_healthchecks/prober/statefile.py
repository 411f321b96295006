"""The last targets on disk, so that a prober can start without the control plane.

They contain probe credentials, so the file has mode 0600; with them one can only check whether
relays are alive.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog
from pydantic import ValidationError

from firsthop_steering.feed.reports import ProbeTargets

log = structlog.get_logger("firsthop.prober")


class StateFile:
    """One file, replaced as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> ProbeTargets | None:
        """The last targets; None if missing or unreadable, the latter with a line in the log."""
        try:
            return ProbeTargets.model_validate_json(self.path.read_bytes(), extra="ignore")
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            log.warning("targets.load_failed", path=str(self.path), reason=type(error).__name__)
            return None

    def write(self, targets: ProbeTargets) -> None:
        """Replace the file. A failure is only logged: probing does not depend on it."""
        fresh = self.path.with_name(self.path.name + ".new")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh.unlink(missing_ok=True)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(targets.model_dump_json().encode())
            fresh.replace(self.path)
        except OSError as error:
            log.warning("targets.save_failed", path=str(self.path), reason=error.strerror)
