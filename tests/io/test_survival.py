"""docs/containers.md says what was tried."""

from __future__ import annotations

from pathlib import Path

import pytest
import survival

DOCS = Path(__file__).parents[2] / "docs" / "containers.md"


@pytest.mark.slow
def test_table_is_what_happens(faults: Path) -> None:
    found = survival.make_table()
    assert "LOST IN SILENCE" not in found
    assert "exit" not in found
    assert DOCS.read_text() == survival.HEAD + found
