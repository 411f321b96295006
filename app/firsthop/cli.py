"""`firsthop COMMAND`: starts a relay directly, and all other commands through typer.

Calls are interrupted while a relay restarts. The libraries for logs and for the options of the
other commands take twice as long to import as a relay needs to start forwarding without them.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from functools import partial
from importlib import import_module

from firsthop import logs
from firsthop.commands import AT_ONCE
from firsthop_relay.log import before_first_line


def main() -> None:
    """Entry point of the `firsthop` script."""
    os.umask(0o077)  # files of ours are ours, whatever the umask was; open ones are made so
    parent = os.environ.pop("FIRSTHOP_END_WITH_PARENT", "")
    if parent:
        _end_with_parent(int(parent))
    if len(sys.argv) > 1 and sys.argv[1] in AT_ONCE:
        before_first_line(partial(logs.configure, level=_log_level()))
        import_module(AT_ONCE[sys.argv[1]]).main(sys.argv[2:])
        return
    from firsthop.command_line import build

    commands = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    build(commands[0] if commands else None)()


def _log_level() -> str:
    level = os.environ.get("FIRSTHOP_LOG_LEVEL") or "info"
    if level.upper() not in logging.getLevelNamesMapping():
        sys.exit(f"firsthop: FIRSTHOP_LOG_LEVEL: {level} is not one of debug, info, warning, error")
    return level


def _end_with_parent(parent: int) -> None:
    """Makes the kernel send SIGTERM to this process when its parent dies (prctl(2))."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit("the parent process has already ended")
