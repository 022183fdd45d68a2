"""Each setting that the code reads exists, and is read as the kind of value that it has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance import errors
from appliance.config.configuration import restore
from appliance.config.schema import SECTIONS

CODE = Path(errors.__file__).parent
READERS = {
    f"{prefix}{kind}"
    for prefix in ("", "optional_")
    for kind in ("flag", "count", "number", "text", "duration", "seconds")
}


def settings_read() -> Iterator[tuple[str, str, str]]:
    """Yield each reader that is called with a dotted name, that name, and where."""
    for path in sorted(CODE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            name = node.args[0] if node.args else None
            if (
                node.func.attr in READERS
                and isinstance(name, ast.Constant)
                and str(name.value).partition(".")[0] in SECTIONS
            ):
                yield node.func.attr, str(name.value), f"{path.relative_to(CODE)}:{node.lineno}"


@pytest.mark.parametrize("role", ["connected", "isolated"])
def test_each_setting_is_read_as_what_it_is(role: str) -> None:
    configuration = restore(role, {})
    found = list(settings_read())
    assert len(found) > 20
    wrong = []
    for reader, name, where in found:
        try:
            getattr(configuration, reader)(name)
        except (KeyError, TypeError) as error:
            wrong.append(f"{where}: {reader}({name!r}): {error}")
    assert wrong == []
