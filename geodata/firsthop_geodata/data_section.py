"""A strict decoder in Python of MaxMind DB records in memory; shared values are decoded once.

Implements the data section of the MaxMind DB format specification 2.0. maxminddb's C reader is
not used for unverified files, as damaged ones were seen to crash the process, and its Python
decoder is six times slower, as it decodes shared parts again for every record.
"""

from __future__ import annotations

import struct
from typing import Any

MAX_DEPTH = 32
"""Nesting depth, including pointers; real records have six levels. Stops circular pointers."""

_POINTER, _STRING, _DOUBLE, _BYTES, _UINT16, _UINT32, _MAP = range(1, 8)
_INT32, _UINT64, _UINT128, _ARRAY = range(8, 12)
_BOOLEAN, _FLOAT = 14, 15
_UNSIGNED = {_UINT16: 2, _UINT32: 4, _UINT64: 8, _UINT128: 16}

_double = struct.Struct(">d").unpack_from
_float = struct.Struct(">f").unpack_from


class DataSection:
    """The data section: ``buffer`` from ``base`` on; offsets count from ``base``.

    Values shared by records are decoded once, so results must not be modified.
    """

    __slots__ = ("_base", "_buffer", "_shared")

    def __init__(self, buffer: bytes, base: int) -> None:
        self._buffer = buffer
        self._base = base
        self._shared: dict[int, Any] = {}

    def record(self, offset: int) -> Any:
        """The value at ``offset``. Raises ValueError (also for text that is not UTF-8)."""
        try:
            return self._decode(self._base + offset, 0)[0]
        except (IndexError, struct.error) as error:
            raise ValueError("a record runs past the end of the file") from error

    def _decode(self, at: int, depth: int) -> tuple[Any, int]:
        """The value whose control byte is at ``at``, and the offset of the next one."""
        if depth > MAX_DEPTH:
            raise ValueError("a record is nested too deeply")
        buffer = self._buffer
        control = buffer[at]
        kind, size = control >> 5, control & 31
        at += 1
        if kind == _POINTER:
            return self._pointer(size, at, depth)
        if kind == 0:
            kind = 7 + buffer[at]
            at += 1
        if size >= 29:
            width = size - 28
            size = (29, 285, 65821)[width - 1] + int.from_bytes(buffer[at : at + width], "big")
            at += width
        if kind == _MAP:
            return self._map(size, at, depth)
        if kind == _BOOLEAN:
            return size != 0, at
        if kind == _ARRAY:
            return self._array(size, at, depth)
        end = at + size
        if end > len(buffer):
            raise IndexError
        return self._scalar(kind, at, end), end

    def _pointer(self, size: int, at: int, depth: int) -> tuple[Any, int]:
        width = (size >> 3) + 1
        end = at + width
        target = int.from_bytes(self._buffer[at:end], "big")
        if width < 4:
            target += ((size & 7) << 8 * width) + (0, 2048, 526336)[width - 1]
        target += self._base
        value = self._shared.get(target, self)
        if value is self:
            value = self._shared[target] = self._decode(target, depth + 1)[0]
        return value, end

    def _map(self, size: int, at: int, depth: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        decode = self._decode
        for _ in range(size):
            key, at = decode(at, depth + 1)
            if type(key) is not str:
                raise ValueError("a record has a map key that is not text")
            found[key], at = decode(at, depth + 1)
        return found, at

    def _array(self, size: int, at: int, depth: int) -> tuple[list[Any], int]:
        found = []
        for _ in range(size):
            value, at = self._decode(at, depth + 1)
            found.append(value)
        return found, at

    def _scalar(self, kind: int, at: int, end: int) -> Any:
        if kind == _STRING:
            return self._buffer[at:end].decode("utf-8")
        if kind == _DOUBLE and end - at == 8:
            return _double(self._buffer, at)[0]
        if end - at <= _UNSIGNED.get(kind, -1):
            return int.from_bytes(self._buffer[at:end], "big")
        if kind == _FLOAT and end - at == 4:
            return _float(self._buffer, at)[0]
        if kind == _INT32 and end - at <= 4:
            padded = self._buffer[at:end].rjust(4, b"\0")
            return int.from_bytes(padded, "big", signed=True)
        if kind == _BYTES:
            return self._buffer[at:end]
        raise ValueError(f"a record has a value of type {kind} and {end - at} bytes")
