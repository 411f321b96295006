"""What commands print on a terminal, or in the log of a CI that applies documents."""

from __future__ import annotations

import pytest

from firsthop.commands.controlplane import print_changes


def test_the_data_of_a_record_cannot_control_the_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An author of records does not decide what the operator sees."""
    name = 'zones/edge.example./records/a.edge.example./TXT/"\x1b[2J\u202epwn"'
    change = {"action": "created", "object": name, "fields": []}
    applied = {"warnings": [], "changes": [change], "effects": None, "dry_run": True}
    print_changes(applied)
    assert r'"\x1b[2J\u202epwn"' in capsys.readouterr().out
