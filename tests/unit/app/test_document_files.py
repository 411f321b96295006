"""Which files a document may name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import firsthop.document_files as document_files
from firsthop.document_files import read_document
from firsthop_steering.plan.document import DocumentError

ZONE = """$ORIGIN a.test.
@ 60 SOA ns1 host 1 7200 900 1209600 60
@ 60 NS ns1
ns1 60 A 192.0.2.1
"""
SECRET = "hunter2 root:x:0:0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A document's folder, beside a secret."""
    (tmp_path / "secret").write_text(SECRET)
    folder = tmp_path / "checkout"
    (folder / "zones").mkdir(parents=True)
    (folder / "zones/a.zone").write_text(ZONE)
    (folder / "inside").symlink_to("zones")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "fifo")
    return folder


def refusal(folder: Path, name: str) -> str:
    """Why the document is refused that names `name`."""
    document = folder / "document.yaml"
    document.write_text(f"zones:\n- file: {name}\n")
    with pytest.raises(DocumentError) as caught:
        read_document(document)
    (problem,) = caught.value.problems
    return str(problem)


def test_included_files_are_below_the_folder_and_watched(folder: Path) -> None:
    """As zone files are, and relative to the zone file; a way out is refused at its line."""
    zone = folder / "zones/a.zone"
    (folder / "zones/hosts.inc").write_text("www 60 A 192.0.2.2\n")
    zone.write_text(ZONE + "$INCLUDE hosts.inc\n")
    document = folder / "document.yaml"
    document.write_text("zones:\n- file: zones/a.zone\n")
    files = document_files.DocumentFiles(document)
    assert [each.owner for each in files.load().zones[0].records] == ["ns1.a.test.", "www.a.test."]
    assert folder / "zones/hosts.inc" in files.stamps
    for way_out in ("../../secret", "../out", "/etc/hostname"):
        zone.write_text(ZONE + f"$INCLUDE {way_out}\n")
        assert refusal(folder, "zones/a.zone").startswith("line 5: zones/a.zone: must be a file")


def test_octets_that_are_no_text_are_placed(folder: Path) -> None:
    """Latin-1 in a zone file: file, line and column, from one document as from the other."""
    (folder / "zones/a.zone").write_bytes(ZONE.encode() + b"; K\xf6ln\n")
    assert refusal(folder, "zones/a.zone") == (
        "line 5: zones/a.zone: column 4: octet 0xF6 is not UTF-8; convert the file"
    )


@pytest.mark.parametrize("name", ["../secret", "zones/../../secret", "out", "up/secret"])
def test_files_outside_of_its_folder_are_not_opened(folder: Path, name: str) -> None:
    """A pull request must not read the files of the CI that applies it."""
    problem = refusal(folder, name)
    assert problem.startswith("line 2: zones/0/file: must be a ")
    assert "hunter2" not in problem


@pytest.mark.parametrize("name", ["/etc/passwd", "/proc/self/environ", "/dev/zero", "../nothing"])
def test_it_is_not_told_which_files_exist(folder: Path, name: str) -> None:
    """The answer is the same for every file outside."""
    assert refusal(folder, name) == (
        "line 2: zones/0/file: must be a file below the document's folder, and no link out of it"
    )


def test_a_pipe_does_not_block(folder: Path) -> None:
    """Only regular files are read."""
    assert refusal(folder, "fifo").endswith("must be a regular file")
    assert refusal(folder, "zones").endswith("cannot be read: Is a directory")


@pytest.mark.parametrize("name", ["zones/a.zone", "inside/a.zone"])
def test_files_below_its_folder_are_read(folder: Path, name: str) -> None:
    """Links inside of the folder may be followed, as Kubernetes makes them."""
    document = folder / "document.yaml"
    document.write_text(f"zones:\n- file: {name}\n")
    assert read_document(document).zones[0].apex == "a.test."


def test_standard_input_is_in_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may name files there, and none above."""
    monkeypatch.chdir(folder)
    for name, fault in (("zones/a.zone", ""), ("../secret", "below the document's folder")):
        (folder / "stdin").write_text(f"zones:\n- file: {name}\n")
        with (folder / "stdin").open() as stream:
            monkeypatch.setattr("sys.stdin", stream)
            try:
                assert read_document(Path("-")).zones
            except DocumentError as error:
                assert fault, error
                assert fault in str(error)


def test_its_size_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All files count, however often a zone file is named."""
    monkeypatch.setattr(document_files, "MAX_OCTETS", 2 * len(ZONE))
    document = folder / "document.yaml"
    document.write_text("zones:\n- file: zones/a.zone\n- file: zones/a.zone\n")
    with pytest.raises(DocumentError, match=r"zones/1/file: .* more than"):
        read_document(document)
