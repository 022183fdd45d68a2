"""A real home for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.store.database import Store, create_store


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Where a home is or will be."""
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    """An empty store, open for writing."""
    opened = create_store(home)
    yield opened
    opened.close()
