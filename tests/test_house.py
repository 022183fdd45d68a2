"""scripts/house counts what it says it counts, and the code has no circles of imports."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOUSE = ROOT / "scripts" / "house"

GROUP = '''"""A group."""

import click


def common(command):
    return click.option("--json")(click.option("--quiet")(command))


@click.command()
@click.option("--size")
@common
def first(size, json, quiet):
    """Do it."""
    from appliance.store import files

    if size and (json or quiet):
        return {"size": size, "rows": [{"id": one} for one in files.all() if one]}
    return {}
'''
MODULES = ("appliance/__init__.py", "appliance/jobs/__init__.py", "appliance/jobs/workers.py")
ROWS = '''"""Rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..cli.queue.queue import first


def all():

    # a remark
    return [first]
'''


@pytest.fixture(scope="module")
def house() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("house", str(HOUSE))
    spec = importlib.util.spec_from_loader("house", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["house"] = module  # dataclasses look their module up
    loader.exec_module(module)
    return module


def tree(house: ModuleType) -> Any:
    files = {
        "appliance/__init__.py": "",
        "appliance/cli/__init__.py": "",
        "appliance/cli/queue/__init__.py": "",
        "appliance/cli/queue/queue.py": GROUP,
        "appliance/store/__init__.py": "",
        "appliance/store/files.py": ROWS,
        "bundles/__init__.py": "",
        "tests/test_value.py": "from appliance.store import files\n",
    }
    return house.Tree("made up", {name: text.encode() for name, text in files.items()})


def test_each_number_is_what_one_counts_by_hand(house: ModuleType) -> None:
    rows = dict(tree(house).rows())
    assert rows == {
        "files": "7",
        "lines": f"{len(GROUP.splitlines()) + len(ROWS.splitlines())}",
        "lines of code": "17",
        "lines a file: mean": "5",
        "lines a file: median": "0",
        "lines a file: largest": "19",
        "files under 100 lines": "7",
        "imports, share of code": "29.4%",  # 5 of 17
        "imports inside functions": "1",
        "modules with one importer": "2",
        "circles of imports": "0",
        "circles, with those for types": "1",
        "largest function: body lines": "5 first (cli/queue/queue.py)",
        "most complex function": "6 first (cli/queue/queue.py)",  # if, and, or, for, its if
        "options of the largest command": "3 first (cli/queue/queue.py)",
        "dicts written by hand in cli": "1",
        "references that lead nowhere": "0",
    }


def test_files_are_counted_by_layer_and_by_room(house: ModuleType) -> None:
    assert tree(house).files_of_layers() == {
        "appliance/*.py": 1,
        "appliance/cli": 3,
        "appliance/cli/queue": 2,
        "appliance/store": 2,
        "bundles/*.py": 1,
    }


@pytest.mark.parametrize(
    ("where", "text", "found"),
    [
        ("appliance/cli/main.py", "# NOWHERE.{} section 5", "NOWHERE.{}"),
        ("docs/queue.md", "[more](more.{})", "more.{}"),
        ("docs/queue.md", "[it](../docs/queue.{}), [it](queue.{}#part)", None),
        ("docs/queue.md", "[it](../queue.{})", "../queue.{}"),
        ("docs/queue.md", "docs/queue.{} from the root", None),
        ("README", "https://example.org/SPEC.{} is public", None),
        ("README", "queue.{} by its name alone", None),
        ("README", "every *.{} and NAME.mdx", None),
        ("scripts/test", "needs ..{}shared", "..{}shared"),
        ("tests/shared.py", "..{}shared/vectors", None),
        ("tests/test_layers.py", 'setattr("appliance.{}.gone.run", 1)', "appliance.{}.gone.run"),
        ("tests/test_layers.py", 'setattr("appliance.{}.workers.run", 1)', None),
        ("tests/test_layers.py", "from appliance.{}.workers import run", None),
        ("tests/test_layers.py", "from appliance.{} import __path__", None),
    ],
)
def test_a_reference_leads_into_the_repository(
    house: ModuleType, where: str, text: str, found: str | None
) -> None:
    # The names are put together here, because the real run reads this file as well.
    put_in = "/" if "shared" in text else "jobs" if "appliance" in text else "md"
    files = dict.fromkeys(("docs/queue.md", *MODULES), b"") | {
        where: text.replace("{}", put_in).encode()
    }
    told = house.Tree("made up", files).dangling_references()
    expected = [] if found is None else [f"{where}:1 {found.replace('{}', put_in)}"]
    assert told == [one.removesuffix("/vectors") for one in expected]


def test_a_circle_through_a_function_is_a_circle(house: ModuleType) -> None:
    low = "def f():\n    from appliance.store import lock\n    return lock\n"
    high = "from appliance.store import files\n"
    files = {"appliance/store/files.py": low.encode(), "appliance/store/lock.py": high.encode()}
    circles = house.Tree("made up", files).circles(for_types=False)
    assert circles == [" <-> ".join(f"appliance.store.{name}" for name in ("files", "lock"))]


def test_no_modules_import_each_other_in_a_circle(house: ModuleType) -> None:
    assert house.working_tree().circles(for_types=False) == []


@pytest.mark.slow
def test_two_revisions_stand_side_by_side() -> None:
    command = [sys.executable, str(HOUSE), "--compare", "HEAD", "--rev", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = {line[:32].strip(): line[32:].split() for line in done.stdout.splitlines()}
    before, after = lines["files"]
    assert before == after
    assert int(before) > 100


def test_a_revision_that_is_not_there_is_named() -> None:
    command = [sys.executable, str(HOUSE), "--rev", "no-such-revision"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("scripts/house: git rev-parse: fatal: ")
