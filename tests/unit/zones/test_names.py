"""Domain names: one text a wire name, and any octet in either."""

from __future__ import annotations

import dns.name
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firsthop_zones.names import LONGEST_TEXT, canonical, parent, to_text, to_wire


@st.composite
def wire_names(draw: st.DrawFn) -> bytes:
    """Any name: labels of any octets, 255 octets at most."""
    labels: list[bytes] = []
    for label in draw(st.lists(st.binary(min_size=1, max_size=63), max_size=127)):
        if sum(len(each) + 1 for each in (*labels, label)) < 255:
            labels.append(label)
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


@given(wire_names())
def test_every_name_has_one_text(wire: bytes) -> None:
    """Text and wire go into one another; dnspython reads the same name from it."""
    text = to_text(wire)
    assert to_wire(text) == wire.lower()
    assert canonical(text) == canonical(text.upper()) == text
    assert dns.name.from_text(text).to_wire() == wire.lower()
    assert len(text) <= LONGEST_TEXT
    assert text.isascii()
    assert text.isprintable()
    assert " " not in text


@given(wire_names())
def test_the_name_above_is_one_label_less(wire: bytes) -> None:
    """Escaped dots do not part labels; the root has nothing above it."""
    text = to_text(wire)
    if wire == b"\0":
        with pytest.raises(ValueError, match="root"):
            parent(text)
    else:
        assert to_wire(parent(text)) == wire.lower()[wire[0] + 1 :]


@pytest.mark.fuzz
@given(st.text(max_size=80) | st.text(st.sampled_from('aZ09-_.\\@ ";()$é\u212a'), max_size=80))
def test_any_text_is_a_name_or_refused(text: str) -> None:
    """With a rule; and what is a name to us is the same name to dnspython."""
    try:
        wire = to_wire(text)
    except ValueError as error:
        assert str(error).startswith("must be a domain name: ")
    else:
        assert dns.name.from_text(text).to_wire().lower() == wire


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".", "."),
        ("Edge.Example", "edge.example."),
        (r"a\.b.example.", r"a\.b.example."),
        (r"a\046b.example.", r"a\.b.example."),
        (r"\065.example.", "a.example."),
        (r"\@.example.", r"\@.example."),
        ("@.example.", r"\@.example."),
        (r"\000\255\ x.", r"\000\255\032x."),
        (r"a\.", r"a\.."),
        (r"\"\;\(\)\$\\.", r"\"\;\(\)\$\\."),
        ("_443._tcp.*.", "_443._tcp.*."),
    ],
)
def test_names_have_a_canonical_text(text: str, expected: str) -> None:
    """Lower case, absolute, escaped where a reader would take the character for something else."""
    assert canonical(text) == expected


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "empty"),
        ("a..b", "empty"),
        (".a", "empty"),
        ("..", "empty"),
        ("x" * 64, "63 octets"),
        ("a." * 127 + "b", "255 octets"),
        (r"a\2", "escape"),
        (r"a\25x", "escape"),
        ("a\\", "escape"),
        (r"\256", r"at most \\255"),
        ("a b", "spaces"),
        ("a\x7f", "control"),
        ("höhe", "Punycode"),
        ("\u212aelvin", "Punycode"),
        ("@", "origin"),
    ],
)
def test_what_is_no_name_is_refused_with_the_rule(text: str, rule: str) -> None:
    """RFC 1035 §2.3.4, §5.1."""
    with pytest.raises(ValueError, match=rule):
        to_wire(text)


def test_the_longest_names_are_taken() -> None:
    """255 octets, and each as an escape."""
    text = ".".join([r"\200" * 63, r"\200" * 63, r"\200" * 63, r"\200" * 61]) + "."
    assert len(to_wire(text)) == 255
    assert len(text) == LONGEST_TEXT
    assert to_text(to_wire(text)) == text
    assert len(to_wire("a." * 127)) == 255
