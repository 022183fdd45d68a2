"""The arrows of DESIGN.md: who may import whom, and what the pure packages may not touch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EVERYBODYS = {"errors", "imports", "patterns", "times", "value", "version", "__version__"}
PURE = ("config", "policy", "rekor", "sigstore", "tlog")
# What each part may import of ours. `errors`, `imports` and `value` are everybody's.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "imports": set(),
    "patterns": set(),
    "value": set(),
    "times": set(),
    "version": set(),
    "tlog": {"tlog"},
    "rekor": {"rekor", "tlog"},
    "sigstore": {"sigstore", "rekor", "tlog"},
    "policy": {"policy", "tlog"},
    "config": {"config"},
    "store": {"store", "tlog"},
    "fetch": {"fetch", "policy", "rekor", "tlog"},
    "jobs": {"jobs", "policy", "sigstore", "rekor", "store", "tlog", "config", "bundles"},
    "serve": {"serve", "jobs", "store", "rekor", "tlog", "config"},
    "report": {"report", "store", "policy", "tlog"},
    "runs": {
        *("runs", "config", "fetch", "jobs", "policy", "rekor", "report", "sigstore", "store"),
        *("tlog", "bundles"),
    },
    "cli": {
        *("cli", "config", "fetch", "jobs", "policy", "rekor", "report", "runs", "serve"),
        *("sigstore", "store", "tlog", "bundles"),
    },
    # The library answers as the command does, in the command's words.
    "api": {"jobs", "cli", "runs", "sigstore", "store", "tlog"},
    "bundles": {"bundles"},
}
# Within a layer a room may import the rooms that stand before it, and the layer's own files.
ROOMS: dict[str, tuple[str, ...]] = {
    "store": (
        *("mirror", "home", "divergence", "verify", "private_log", "witness", "queue"),
        *("transfer", "find"),
    ),
    "jobs": (
        *("home", "divergence", "mirror", "find", "verify", "private_log", "witness", "queue"),
        *("transfer", "drill"),
    ),
    "cli": (
        *("home", "verify", "private_log", "witness", "queue", "find", "mirror", "divergence"),
        *("transfer", "drill"),
    ),
}
FORBIDDEN_IN_PURE = {
    *("os", "io", "pathlib", "time", "random", "secrets", "socket", "requests", "sqlite3"),
    *("logging", "tempfile", "subprocess", "threading", "urllib3", "sqlite_utils"),
}
NETWORK = {"requests", "urllib3", "http", "socket", "ssl", "waitress"}
SQL_AND_FILES = {"sqlite3", "sqlite_utils"}
# The private log is a server, and conversions of old homes and doctors look at the interpreter.
NETWORK_ALLOWED = {"fetch", "serve"}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted((ROOT / "appliance").rglob("*.py")):
        parts = path.relative_to(ROOT / "appliance").with_suffix("").parts
        if parts[0] != "__init__":
            yield parts[0], path
    for path in sorted((ROOT / "bundles").rglob("*.py")):
        yield "bundles", path


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, name) for each import, wherever in the file it is."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ""
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.module or "", alias.name


def violations(part: str, path: Path) -> list[str]:
    found = []
    for module, name in imports(path):
        top, _, rest = module.partition(".")
        if top == "appliance":
            ours = rest.partition(".")[0] or name
            if ours not in ALLOWED[part] | EVERYBODYS:
                found.append(f"{part} imports appliance.{ours}")
        elif top == "bundles" and "bundles" not in ALLOWED[part]:
            found.append(f"{part} imports bundles")
        elif part in PURE and (top in FORBIDDEN_IN_PURE or (top, name) == ("datetime", "now")):
            found.append(f"pure {part} imports {module}")
        elif top in NETWORK and part not in NETWORK_ALLOWED:
            found.append(f"{part} imports {module}: the network is fetch's")
        elif top in SQL_AND_FILES and part != "store":
            found.append(f"{part} imports {module}: SQL is store's")
    return found


def wrong_arrows(layer: str, path: Path) -> list[str]:
    """Return the imports of a file that lead to a room its own room may not know."""
    rooms = ROOMS[layer]
    folders = path.relative_to(ROOT / "appliance" / layer).parts[:-1]
    here = rooms.index(folders[0]) if folders else -1
    found = []
    for module, _ in imports(path):
        start, _, rest = module.partition(f"appliance.{layer}.")
        room = rest.partition(".")[0]
        if not start and room in rooms and rooms.index(room) > here >= 0:
            found.append(f"{layer}/{rooms[here]} imports {module}")
    return found


def calls(path: Path) -> set[str]:
    """Return the names of everything called in a file, as written: open, datetime.now, …"""
    return {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text(), str(path)))
        if isinstance(node, ast.Call)
    }


@pytest.mark.parametrize(
    ("part", "path"), [pytest.param(*one, id=str(one[1].relative_to(ROOT))) for one in modules()]
)
def test_every_import_points_down(part: str, path: Path) -> None:
    assert part in ALLOWED, f"{part} is not in the architecture"
    assert violations(part, path) == []


@pytest.mark.parametrize(
    ("part", "path"),
    [
        pytest.param(*one, id=str(one[1].relative_to(ROOT)))
        for one in modules()
        if one[0] not in ("store", "cli")
    ],
)
def test_nothing_but_the_store_opens_files_and_nothing_but_the_rim_prints(
    part: str, path: Path
) -> None:
    called = calls(path)
    assert not called & {"print", "click.echo"}, f"{part} prints"
    assert not called & {"open", "os.open", "os.fdopen"}, f"{part} opens files"
    if part in PURE:
        clocks = {"datetime.now", "datetime.utcnow", "time.time", "time.monotonic"}
        assert not called & clocks, f"{part} reads a clock"


@pytest.mark.parametrize(
    "job",
    ["verify/verify", "transfer/ingest", "transfer/export", "mirror/prove", "mirror/audit"],
)
def test_no_way_leads_from_an_offline_job_to_the_network(job: str) -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "appliance" / "jobs" / f"{job}.py"]
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        for module, name in imports(path):
            for candidate in (module, f"{module}.{name}"):
                if candidate.startswith(("appliance.", "bundles")):
                    assert not candidate.startswith(("appliance.fetch", "appliance.serve")), path
                    waiting.append(ROOT / (candidate.replace(".", "/") + ".py"))
            assert module.partition(".")[0] not in NETWORK, path
    assert len(seen) > 5


def test_the_checker_sees_a_violation(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import os\nfrom appliance.store.database import Store\nimport requests\n")
    assert len(violations("tlog", bad)) == 3
    assert violations("jobs", bad) == ["jobs imports requests: the network is fetch's"]


@pytest.mark.parametrize("layer", ROOMS)
def test_the_rooms_of_a_layer_have_an_order(layer: str) -> None:
    folder = ROOT / "appliance" / layer
    assert {path.parent.name for path in folder.glob("*/__init__.py")} == set(ROOMS[layer])
    wrong = [one for path in folder.rglob("*.py") for one in wrong_arrows(layer, path)]
    assert wrong == []
