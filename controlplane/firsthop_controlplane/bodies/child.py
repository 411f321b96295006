"""The child process that checks one document: standard input to a pickled model or refusal.

Its argument is `MODULE:CLASS` of the model. The parent trusts the output: only this program, which
its parent started, writes it.
"""

from __future__ import annotations

import importlib
import os
import pickle
import resource
import sys

from firsthop_controlplane.bodies.json_text import parse_object
from firsthop_controlplane.bodies.validation import validated
from firsthop_controlplane.errors import Refused

OUT_OF_MEMORY = 3
"""Exit status if memory does not suffice."""
MAX_MEMORY = 2**31
"""Bytes of address space of this process."""


def main(name: str) -> None:
    """Check the document on standard input; exits with OUT_OF_MEMORY if memory does not suffice."""
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    os.nice(5)  # verdicts come first
    module, _, qualname = name.partition(":")
    model = getattr(importlib.import_module(module), qualname)
    try:
        found = validated(model, parse_object(sys.stdin.buffer.read()))
    except Refused as refused:
        found = refused
    except MemoryError:
        sys.exit(OUT_OF_MEMORY)
    sys.stdout.buffer.write(pickle.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
