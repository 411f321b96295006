"""The file format of tables: named sections after a header with a digest.

Layout, little-endian: magic (8 bytes, which identify the kind of table), format version (u32),
section count (u32), file length (u64), SHA-256 of everything else in the file (32 bytes); then per
section its name (24 bytes, zero-padded), offset and length (u64 each); then the sections, each on a
64-byte boundary. The contents of the sections are opaque.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from firsthop_geodata.errors import GeodataError
from firsthop_geodata.files import Buffer, Writer, write_atomically

GEO_MAGIC = b"FHGEO\r\n\x1a"  # like PNG's: a transfer in text mode corrupts it detectably
FORMAT_VERSION = 2
MAX_SECTIONS = 65536
ALIGNMENT = 64

_HEADER = struct.Struct("<8sIIQ32s")
_FIXED = struct.Struct("<8sIIQ")
_ENTRY = struct.Struct("<24sQQ")


def _layout(sections: Mapping[str, Buffer]) -> tuple[bytes, list[Buffer], int]:
    """The directory, the aligned section bodies and the length of the whole file."""
    directory, body = b"", list[Buffer]()
    end = _HEADER.size + _ENTRY.size * len(sections)
    for name, content in sections.items():
        padding = -end % ALIGNMENT
        body += [bytes(padding), content]
        directory += _ENTRY.pack(name.encode(), end + padding, len(content))
        end += padding + len(content)
    return directory, body, end


def write_sections(
    path: Path,
    sections: Mapping[str, Buffer],
    *,
    magic: bytes = GEO_MAGIC,
    write: Writer = write_atomically,
) -> str:
    """Write the file (atomically, by default) and return its digest in hex.

    Contents are bytes (or views of single bytes); equal sections give equal files. Raises
    GeodataError if the file cannot be written.
    """
    directory, body, length = _layout(sections)
    fixed = _FIXED.pack(magic, FORMAT_VERSION, len(sections), length)
    digest = hashlib.sha256(fixed)
    for chunk in (directory, *body):
        digest.update(chunk)
    write(path, [fixed, digest.digest(), directory, *body])
    return digest.hexdigest()


class Container:
    """A verified file, mapped read-only. ``sections`` are views into the mapping."""

    __slots__ = ("digest", "mapping", "path", "sections")

    def __init__(self, path: Path, *, magic: bytes = GEO_MAGIC) -> None:
        """Map and verify ``path``. Raises GeodataError with the file and the violated rule."""
        self.path = path
        try:
            with path.open("rb") as stream:
                self.mapping = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise GeodataError(path, f"cannot be mapped: {reason}") from error
        whole = memoryview(self.mapping)
        try:
            self.digest = _verify(path, whole, magic)
            self.sections = dict(_entries(path, whole))
        except GeodataError:
            whole.release()
            self.mapping.close()
            raise

    def close(self) -> None:
        """Drop the sections; the file is unmapped now, or when the last view is released."""
        self.sections = {}
        try:
            self.mapping.close()
        except BufferError:  # a view is still in use; the file is unmapped with it
            return


def _verify(path: Path, whole: memoryview, magic: bytes) -> str:
    if len(whole) < _HEADER.size or whole[: len(magic)] != magic:
        what = magic[:5].decode()
        raise GeodataError(path, f"is not a Firsthop table of kind {what} (magic bytes differ)")
    _, version, count, length, expected = _HEADER.unpack_from(whole)
    if version != FORMAT_VERSION:
        raise GeodataError(path, f"has format version {version}, not {FORMAT_VERSION}")
    if length != len(whole):
        raise GeodataError(path, f"is {len(whole)} bytes long, not {length}: truncated or padded")
    if count > MAX_SECTIONS or _HEADER.size + count * _ENTRY.size > length:
        raise GeodataError(path, f"claims {count} sections")
    digest = hashlib.sha256(whole[: _FIXED.size])
    digest.update(whole[_HEADER.size :])
    if digest.digest() != expected:
        raise GeodataError(path, "does not match its SHA-256 digest: corrupt")
    return digest.hexdigest()


def _entries(path: Path, whole: memoryview) -> Iterator[tuple[str, memoryview]]:
    count: int = _FIXED.unpack_from(whole)[2]
    for index in range(count):
        padded, offset, length = _ENTRY.unpack_from(whole, _HEADER.size + index * _ENTRY.size)
        if offset + length > len(whole) or offset % ALIGNMENT:
            raise GeodataError(path, f"section {index} lies outside the file or is misaligned")
        yield padded.rstrip(b"\0").decode("ascii", "replace"), whole[offset : offset + length]
