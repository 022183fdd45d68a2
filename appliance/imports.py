"""Importing foreign modules without what they import and hardly ever need.

What a module imports for one rare function of its own costs every start of ours. Such a part is
stood in for while the module is imported, and is imported itself once somebody asks it anything.
All of it happens only in a process that is the attestor command: whoever imports the appliance
as a library has foreign modules as they are.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any, Final

_process = {"is ours": False}


def claim_process() -> None:
    """Say that this process is the attestor command: only there anything is stood in for."""
    _process["is ours"] = True


def may_stand_in() -> bool:
    """Whether a module may be stood in for: nobody else in this process could meet it."""
    threads = sys.modules.get("threading")  # who has none never imported it
    return _process["is ours"] and (threads is None or threads.active_count() == 1)


def import_click() -> None:
    """Import click and pathlib without modules that read source code, make identifiers, part URLs.

    They are a third of what both cost, for an argument of a kind that no command of ours has,
    file: URLs, and two functions of a few lines.
    """
    if "click" in sys.modules or not may_stand_in():
        return
    parse = LaterModule("urllib.parse", {"quote_from_bytes": _quote_from_bytes})
    with in_place_of("urllib.parse", parse):
        import pathlib  # noqa: F401
    inspect = LaterModule("inspect", {"cleandoc": _cleandoc, "isfunction": _is_function})
    uuid = LaterModule("uuid", {"UUID": object})  # only named, as what a type is of
    with in_place_of("inspect", inspect), in_place_of("uuid", uuid):
        import click  # noqa: F401
    del uuid.__dict__["UUID"]


def import_key_formats() -> None:
    """Import cryptography's serialization of keys without OpenSSH's formats and the ciphers.

    They are a seventh of a verify. The ciphers come with the backend, which each ECDSA imports to
    ask about RFC 6979. Who asks for any of it gets it: it is imported then.
    """
    name = "cryptography.hazmat.primitives.serialization"
    if name in sys.modules or not may_stand_in():
        return
    ssh, random = _PassedOn(f"{name}.ssh"), LaterModule("random", {})
    with in_place_of(ssh.__name__, ssh), in_place_of("random", random):
        import cryptography.hazmat.primitives.asymmetric.rsa  # noqa: F401

        # A version to come may need at once what is stood in for here: then it is imported whole.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    module = importlib.import_module(name)
    backend = "cryptography.hazmat.backends.openssl.backend"
    sys.modules.setdefault(backend, LaterModule(backend, {"backend": _Later(backend, "backend")}))
    # Beside deprecated names it stands behind a module that warns of them.
    names = vars(vars(module).get("_module", module))
    passed_on = [one for one, it in names.items() if isinstance(it, _Name)]
    if not passed_on:
        return
    for one in passed_on:
        del names[one]

    def __getattr__(asked: str) -> Any:
        if asked in passed_on:
            return getattr(importlib.import_module(ssh.__name__), asked)
        raise AttributeError(f"module {name!r} has no attribute {asked!r}")

    names["__getattr__"] = __getattr__  # as PEP 562 has it


@contextlib.contextmanager
def in_place_of(name: str, module: ModuleType, *, always: bool = False) -> Iterator[None]:
    """Let what is imported within find `module` under a name, and then again what was there.

    What was imported already costs nothing more and stays, unless it is `always` stood in for.
    """
    before = sys.modules.get(name)
    if before is None or always:
        sys.modules[name] = module
    try:
        yield
    finally:
        if before is not None:
            sys.modules[name] = before
        elif sys.modules.get(name) is module:
            del sys.modules[name]


class LaterModule(ModuleType):
    """Stands in for a module: has what it is given, and imports the module for all else."""

    def __init__(self, name: str, given: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.__dict__.update(given)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # how it is to be imported
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


class _Later:
    """Stands in for what a module has."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def __getattr__(self, name: str) -> Any:
        standing = sys.modules.get(self._module)
        if isinstance(standing, LaterModule):
            del sys.modules[self._module]
        return getattr(getattr(importlib.import_module(self._module), self._name), name)


class _Name:
    """Stands in for whatever has a name in a module."""


class _PassedOn(ModuleType):
    """Stands in for a module whose names another one passes on."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # how it is to be imported
            raise AttributeError(name)
        return _Name()


def _is_function(value: object) -> bool:
    return isinstance(value, FunctionType)


def _quote_from_bytes(given: bytes) -> str:
    from urllib.parse import quote_from_bytes

    return quote_from_bytes(given)


# None: any white space, to which a form feed belonged before Python 3.13.
_INDENTATION: Final = " " if sys.version_info >= (3, 13) else None


def _cleandoc(doc: str) -> str:
    """Return a docstring without its indentation and the blank lines around it (PEP 257)."""
    first, *rest = doc.expandtabs().split("\n")
    left = [(line, line.lstrip(_INDENTATION)) for line in rest]
    margin = min((len(line) - len(text) for line, text in left if text), default=0)
    lines = [first.lstrip(_INDENTATION), *(line[margin:] for line in rest)]
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return "\n".join(lines)
