"""The lower bound: a UDP echo in C, compiled from echo.c if there is a compiler."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from bench.peers.case import Case
from bench.peers.process import AbsentError, Server, first_line, free_port, start

SOURCE = Path(__file__).with_name("echo.c")


def start_server(case: Case, folder: Path, cpu: int | None) -> Server:
    """Compiles and starts it; the case is not needed. Raises AbsentError."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise AbsentError("no C compiler (cc)")
    program = folder / "echo"
    subprocess.run([compiler, "-O2", "-o", program, SOURCE], check=True)
    port = free_port()
    return start(
        "echo",
        [program, str(port)],
        version=f"(no DNS; {first_line([compiler, '--version'])})",
        port=port,
        folder=folder,
        cpu=cpu,
        answers=False,
    )
