"""A migration that was shipped stays byte for byte what it was: databases out there have it.

The digests are in migrations.sha256, as sha256sum writes them. A new migration adds its line;
a line is never changed.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from appliance.store import schema
from appliance.store.schema import MIGRATIONS

DIRECTORY = Path(schema.__file__).parent / "migrations"
PINNED = Path(__file__).with_name("migrations.sha256")


def findings(directory: Path, pinned: str) -> list[str]:
    """Say how the files of a directory differ from a list of their digests."""
    digests = {name: digest for digest, name in map(str.split, pinned.splitlines())}
    files = {path.name: path for path in directory.iterdir() if path.name != "__pycache__"}
    found = [f"{name}: pinned, but not there" for name in digests.keys() - files.keys()]
    for name, path in files.items():
        actual = sha256(path.read_bytes()).hexdigest()
        if name not in digests:
            found.append(f"{name}: not pinned; add to {PINNED.name}: {actual}  {name}")
        elif digests[name] != actual:
            found.append(
                f"{name}: expected {digests[name]}, got {actual};"
                " a shipped migration is never changed, add another"
            )
    return sorted(found)


def test_every_migration_is_pinned_and_unchanged() -> None:
    assert findings(DIRECTORY, PINNED.read_text()) == []


def test_the_files_are_the_migrations_in_their_order() -> None:
    assert sorted(path.stem for path in DIRECTORY.glob("*.sql")) == list(MIGRATIONS)


@pytest.mark.parametrize("change", ["edited", "added", "removed", "renamed"])
def test_any_change_is_found(tmp_path: Path, change: str) -> None:
    for path in DIRECTORY.glob("*.sql"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    first = tmp_path / f"{MIGRATIONS[0]}.sql"
    expected = [first.name]
    if change == "edited":
        first.write_bytes(first.read_bytes() + b"\n")
    elif change == "added":
        (tmp_path / "999_unlisted.sql").write_text("SELECT 1;\n")
        expected = ["999_unlisted.sql"]
    elif change == "removed":
        first.unlink()
    else:
        first.rename(tmp_path / "000_renamed.sql")
        expected = ["000_renamed.sql", first.name]
    found = findings(tmp_path, PINNED.read_text())
    assert [one.partition(":")[0] for one in found] == expected
