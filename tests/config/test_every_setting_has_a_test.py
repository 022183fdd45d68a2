"""No setting without an effect: each has a test named after it, or is refused."""

from __future__ import annotations

import ast
from pathlib import Path

from appliance.config.schema import SETTINGS

TESTS = Path(__file__).resolve().parents[1]
PREFIX = "test_setting_"


def named() -> set[str]:
    return {
        node.name.removeprefix(PREFIX)
        for path in TESTS.rglob("test_each_setting.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith(PREFIX)
    }


def test_every_setting_has_a_test_named_after_it() -> None:
    tested = named()
    assert [name for name in SETTINGS if name.replace(".", "_") not in tested] == []
