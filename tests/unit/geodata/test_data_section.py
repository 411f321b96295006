"""The record decoder: every type and size as maxminddb's own decoder has it, and strictness."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from maxminddb.decoder import Decoder
from mmdb_writer import Encoder, MmdbF32, MmdbI32

from firsthop_geodata.data_section import DataSection

scalars = (
    st.text(max_size=20)
    | st.floats(allow_nan=False)
    | st.booleans()
    | st.integers(-(2**31), 2**128 - 1)
    | st.binary(max_size=20)
)
texts = st.text(max_size=5)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(texts, inner, max_size=40),
    max_leaves=60,
)


def encoded(value: Any, *, padding: int = 0) -> tuple[bytes, int]:
    """A data section with the value in it, written by another implementation, and its offset."""
    encoder = Encoder(cache=True)
    if padding:
        encoder.encode(b"x" * padding)
    offset = encoder.encode(value, return_offset=True)
    return b"".join(encoder.data_list), offset


def agrees(section: bytes, offset: int) -> None:
    expected = Decoder(section, 0).decode(offset)[0]
    assert DataSection(section, 0).record(offset) == expected
    assert DataSection(b"tree" + section, 4).record(offset) == expected


@pytest.mark.fuzz
@settings(max_examples=100, deadline=None)
@given(values)
def test_agrees_with_maxminddb(value: Any) -> None:
    """Whatever mmdb-writer encodes decodes as maxminddb decodes it."""
    agrees(*encoded(value))


@pytest.mark.parametrize("padding", [0, 2000, 2048, 3000, 526_000, 526_336, 530_000])
def test_pointers_of_every_width(padding: int) -> None:
    """Pointers of one, two and three bytes, to both sides of each change of width."""
    agrees(*encoded([{"a": ["b", -1]}, ["b", {"a": ["b", -1]}], "c" * 40], padding=padding))


@pytest.mark.parametrize("size", [0, 28, 29, 30, 284, 285, 286, 65820, 65821, 65822, 70000])
def test_sizes(size: int) -> None:
    """Lengths on both sides of each change of encoding, as text and as elements."""
    mapping = {str(number): number for number in range(size if size < 300 else 1)}
    for value in ("x" * size, [True] * size, mapping):
        section, offset = encoded(value)
        assert DataSection(section, 0).record(offset) == value


def test_narrow_numbers() -> None:
    """Floats of 32 bits and negative integers."""
    section, offset = encoded([MmdbF32(1.5), MmdbI32(-7), -1])
    assert DataSection(section, 0).record(offset) == [1.5, -7, -1]


def test_the_widest_pointers() -> None:
    """A pointer of four bytes counts from zero: there is no offset to add."""
    content = bytes([0x38, 0, 0, 0, 5, 0x42]) + b"hi"
    assert DataSection(content, 0).record(0) == "hi"


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "past the end"),
        (bytes([0x45]) + b"hi", "past the end"),
        (bytes([0x5D]), "past the end"),
        (bytes([0xE1, 0x41]), "past the end"),
        (bytes([0xE1, 0xA0, 0xA0]), "map key"),
        (bytes([0x20, 0x00]), "too deeply"),
        (bytes([0x01, 0x04, 0x20, 0x00]), "too deeply"),
        (bytes([0x42, 0xFF, 0xFE]), "utf-8"),
        (bytes([0x64]) + bytes(4), "type 3"),
        (bytes([0xA3]) + bytes(3), "type 5"),
        (bytes([0x00, 0x05]), "type 12"),
    ],
)
def test_damage_is_a_value_error(content: bytes, rule: str) -> None:
    """Truncated, circular, ill-typed: ValueError with the reason, never another exception."""
    with pytest.raises(ValueError, match=rule):
        DataSection(content, 0).record(0)


@pytest.mark.fuzz
@given(st.binary(max_size=60))
def test_any_bytes(content: bytes) -> None:
    """Random bytes give a value or a ValueError."""
    try:
        DataSection(content, 0).record(0)
    except ValueError:
        return
