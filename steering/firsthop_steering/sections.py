"""A file of named binary sections: written once, mapped by every process that reads it.

    magic 8 | directory length u32 | SHA-256 of all the rest, 32 | directory JSON | sections

The directory gives `kind`, `meta` and for each section its offset (from the end of the directory,
64-byte aligned) and length. Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC = b"FHSECT01"
_HEADER = struct.Struct("<8sI32s")
_LENGTH = struct.Struct("<I")
_ALIGNMENT = 64


class SectionError(ValueError):
    """A file that is not what it should be; the message names file and rule."""


def write_sections(
    path: Path,
    *,
    kind: str,
    meta: Mapping[str, Any],
    sections: Mapping[str, bytes | npt.NDArray[Any]],
) -> str:
    """Writes the file whole or not at all, and returns its digest in hex."""
    blobs = {
        name: section if isinstance(section, bytes) else section.tobytes()
        for name, section in sections.items()
    }
    places: dict[str, tuple[int, int]] = {}
    offset = 0
    for name, blob in blobs.items():
        places[name] = (offset, len(blob))
        offset += -(-len(blob) // _ALIGNMENT) * _ALIGNMENT
    directory = json.dumps(
        {"kind": kind, "meta": meta, "sections": places}, sort_keys=True
    ).encode()
    directory += b" " * (-(_HEADER.size + len(directory)) % _ALIGNMENT)
    body = bytearray(directory)
    for blob in blobs.values():
        body += blob + bytes(-len(blob) % _ALIGNMENT)
    digest = hashlib.sha256(_LENGTH.pack(len(directory)) + body)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("wb") as file:
            file.write(_HEADER.pack(MAGIC, len(directory), digest.digest()))
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    return digest.hexdigest()


class SectionFile:
    """A mapped file; arrays and bytes are views of it and stay valid while they are held.

    Raises SectionError when the file is truncated, foreign, of another kind, or changed.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        with path.open("rb") as file:
            try:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except ValueError:
                raise SectionError(f"{path}: is empty") from None
        self._view = memoryview(self._map)
        if len(self._view) < _HEADER.size:
            raise SectionError(f"{path}: is too short to be a table")
        magic, length, digest = _HEADER.unpack_from(self._view)
        if magic != MAGIC:
            raise SectionError(f"{path}: does not start with {MAGIC.decode()}")
        proof = hashlib.sha256(_LENGTH.pack(length))
        proof.update(self._view[_HEADER.size :])
        if proof.digest() != digest:
            raise SectionError(f"{path}: its content does not have the digest it names")
        self._start = _HEADER.size + length
        directory = json.loads(bytes(self._view[_HEADER.size : self._start]))
        if directory["kind"] != kind:
            raise SectionError(f"{path}: is a {directory['kind']} file, not {kind}")
        self.digest = digest.hex()
        self.meta: dict[str, Any] = directory["meta"]
        self._places: dict[str, tuple[int, int]] = directory["sections"]

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def bytes(self, name: str) -> memoryview:
        """The octets of a section."""
        offset, length = self._places[name]
        return self._view[self._start + offset : self._start + offset + length]

    def array(self, name: str, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """The numbers of a section, one-dimensional and read-only."""
        return np.frombuffer(self.bytes(name), dtype=dtype)
