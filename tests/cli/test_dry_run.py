"""--dry-run writes nothing, whichever command it is given to: neither the store nor a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import pytest

from appliance.cli.main import cli
from appliance.store.database import open_store
from appliance.store.mirror.logs import put_backend
from appliance.tlog.note import SigningKey
from appliance.value import replaced
from tests.cli.homes import NOW
from tests.cli.mirrored import MirroredHome
from tests.divergence.world import LogServer
from tests.find.logged import instance, leaf
from tests.queue.signed_files import write_artifact

DAY = 86_400
TAKEN, FREE = (SigningKey(f"{name}.example", bytes([at + 40]) * 32) for at, name in enumerate("tf"))
# What needs a world of its own, and the test that has it.
ELSEWHERE = {
    "backend discover": "tests/mirror/test_discover.py",
    "trust update": "tests/verify/test_trust.py",
    "failover": "tests/divergence/test_scenarios.py",
    "quarantine lift": "tests/divergence/test_common_ground.py",
    "receipt accept": "tests/transfer/test_receipts.py",
    "log move": "tests/private_log/test_move.py",
    "publish": "tests/queue/test_publish.py",
    "alerts prune": "tests/divergence/test_alerts.py",
    "verdicts prune": "tests/verify/test_verify.py",
    "queue aggregate": "tests/queue/test_aggregate.py",
}


def with_dry_run(command: click.Command, name: str, context: click.Context) -> Iterator[str]:
    """Yield the names of all commands that have it."""
    if isinstance(command, click.Group):
        for one in command.list_commands(context):
            found = command.get_command(context, one)
            assert found is not None
            yield from with_dry_run(found, f"{name} {one}", click.Context(found, context))
    if any("--dry-run" in one.opts for one in command.params):
        yield name.strip()


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[MirroredHome]:
    """A home that has some of everything, two days later."""
    made = MirroredHome(tmp_path / "home", capsys, "connected")
    server = LogServer()
    server.logs["sim"] = made.log
    with made.mirror() as mirror, mirror.store.atomic():
        put_backend(mirror.store, "sim", mirror.log, base_url=None, read_url=f"{server.url}/sim/")
    for _ in range(2):
        made.log.grow([leaf("release@example.com")])
        made.json("sync", "--full-tiles", "--entries")
    made.json("index", "build")
    (tmp_path / "root.json").write_text(json.dumps(instance().root()))
    (tmp_path / "new.json").write_text(json.dumps(instance().root() | {"tlogs": []}))
    made.json("trust", "import", tmp_path / "root.json")
    made.json("watch", "add", "w", "--identity-exact", "release@example.com")
    made.json("tenant", "add", "team")
    made.json("exporters", "add", TAKEN.verifier.vkey)
    (tmp_path / "site.yaml").write_text("attestor: {http: {connections: 9}}")
    (tmp_path / "monitor.yaml").write_text(
        "monitoredValues: {subjects: ['someone@example.com'], certIdentities: []}"
    )
    (tmp_path / "in").mkdir()
    made.json("queue", "add", *write_artifact(tmp_path / "in", b"one"))
    (tmp_path / "gone").mkdir()
    gone = made.json("queue", "add", *write_artifact(tmp_path / "gone", b"gone"))["id"]
    made.json("queue", "cancel", gone)
    outside = tmp_path / "outside"
    other = MirroredHome(outside, capsys, "connected")
    other.log = made.log
    other.log.grow(1)
    other.sync(0)
    code, vkey, _ = other.run("key", "show", "site.example")
    assert code == 0
    made.json("exporters", "add", vkey.strip())
    other.json("export", "--include-entries", "--output", tmp_path / "in.tar")
    made.log.grow(1)
    made.app = replaced(made.app, now=lambda: NOW + 2 * DAY)
    yield made
    server.close()


def lines(home: MirroredHome, directory: Path) -> dict[str, list[str | Path]]:
    key = home.log.key
    item, gone = (
        home.json("queue", "list", "--state", state)["items"][0]["id"]
        for state in ("queued", "cancelled")
    )
    (directory / "key").write_bytes(key.spki)
    (directory / "more").mkdir()
    passphrase = directory / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    passphrase.chmod(0o600)
    return {
        "sync": [],
        "backend add": ["two", "--origin", "two.example", "--public-key", directory / "key"],
        "backend disable": ["sim"],
        "backend enable": ["sim"],
        "backend remove": ["sim"],
        "backend key retire": ["sim", key.key_id.hex(), "--reason", "x"],
        "backend key revoke": ["sim", key.key_id.hex(), "--reason", "x"],
        "checkpoint prune": ["--older-than", "1h"],
        "tiles clear": ["--backend", "sim"],
        "tiles prune": ["--max-size", "1KiB", "--allow-coverage-loss"],
        "trust import": [directory / "new.json"],
        "export": ["--output", directory / "out.tar"],
        "import": [directory / "in.tar"],
        "exporters add": [FREE.verifier.vkey],
        "exporters remove": [TAKEN.verifier.vkey],
        "exporters replace": [TAKEN.verifier.vkey, FREE.verifier.vkey, "--reason", "x"],
        "exporters revoke": [TAKEN.verifier.vkey, "--reason", "x"],
        "custody add": ["--action", "handed-over", "--who", "A", "--medium", "1"],
        "alerts ack": ["1"],
        "alerts send": [],
        "watch add": ["new", "--identity-exact", "release@example.com"],
        "watch import": [directory / "monitor.yaml"],
        "watch remove": ["w"],
        "queue add": [*write_artifact(directory / "more", b"two")],
        "queue cancel": [item],
        "queue retry": [gone],
        "tenant add": ["other"],
        "tenant disable": ["team"],
        "tenant enable": ["team"],
        "tenant remove": ["team"],
        "config apply": [directory / "site.yaml"],
        "config set": ["http.connections", "9"],
        "key generate": ["new"],
        "key passphrase": ["--all", "--new-file", passphrase],
        "store gc": [],
    }


def state(home: MirroredHome) -> dict[str, Any]:
    """Return all rows of the store, and the digest of each file beside it."""
    files = {
        str(path.relative_to(home.path.parent)): sha256(path.read_bytes()).hexdigest()
        for path in home.path.parent.rglob("*")
        if path.is_file()
        and path.name not in ("attestor.db", "attestor.db-journal")
        and "lock" not in path.name
    }
    with closing(open_store(home.path, write=False)) as store:
        tables = [
            row["name"] for row in store.rows("SELECT name FROM sqlite_schema WHERE type = 'table'")
        ]
        rows = {
            name: [tuple(one) for one in store.rows(f'SELECT * FROM "{name}"')]  # noqa: S608 ours
            for name in tables
        }
    return {**files, **rows}


def test_nothing_is_written(home: MirroredHome, tmp_path: Path) -> None:
    wanted, failed = lines(home, tmp_path), {}
    known = set(with_dry_run(cli, "", click.Context(cli)))
    assert known == wanted.keys() | ELSEWHERE.keys()
    before = state(home)
    for name, words in wanted.items():
        code, out, err = home.run(*name.split(), *words, "--dry-run")
        if code != 0:
            failed[name] = (code, out + err)
        after = state(home)
        changed = [one for one in before.keys() | after.keys() if before.get(one) != after.get(one)]
        assert changed == [], name
    assert {name: one[0] for name, one in failed.items()} == {}, failed
