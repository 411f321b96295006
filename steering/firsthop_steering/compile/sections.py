"""The file format of answer tables: named sections, and a section of JSON metadata.

The container (`firsthop_geodata.container`) verifies that a file is complete and unchanged. A file
is written once and mapped by every process that reads it. Numbers are little-endian.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from firsthop_geodata import container
from firsthop_geodata.errors import GeodataError
from firsthop_geodata.files import Writer, write_atomically

_MAGIC = b"FHANS\r\n\x1a"
_META = "meta"


class SectionError(ValueError):
    """A file is invalid or cannot be written; the message has the file and the fault."""


def write_sections(
    path: Path,
    *,
    meta: Mapping[str, Any],
    sections: Mapping[str, bytes | npt.NDArray[Any]],
    write: Writer = write_atomically,
) -> str:
    """Writes the file (atomically by default) and returns its digest in hex.

    Raises SectionError if it cannot be written.
    """
    blobs: dict[str, bytes] = {_META: json.dumps(meta, sort_keys=True).encode()}
    for name, section in sections.items():
        blobs[name] = section if isinstance(section, bytes) else section.tobytes()
    try:
        return container.write_sections(path, blobs, magic=_MAGIC, write=write)
    except GeodataError as error:
        raise SectionError(str(error)) from None


class SectionFile:
    """A mapped file; its arrays and bytes are views that stay valid while they are referenced.

    Raises SectionError if the file is missing, truncated, of another format, or altered.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._container = container.Container(path, magic=_MAGIC)
        except GeodataError as error:
            raise SectionError(str(error)) from None
        self.digest = self._container.digest
        self.meta: dict[str, Any] = json.loads(bytes(self.bytes(_META)))

    def __contains__(self, name: str) -> bool:
        return name in self._container.sections

    def bytes(self, name: str) -> memoryview:
        """The contents of a section. Raises KeyError for an unknown name."""
        return self._container.sections[name]

    def array(self, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """The contents of a section as a one-dimensional, read-only array."""
        return np.frombuffer(self.bytes(name), dtype=dtype)
