"""What a setting may be: each kind reads one scalar into its one JSON-able form.

Durations are kept in their canonical spelling (`5m`), sizes as bytes, URLs without the
slash at their end. Every `read` raises ConfigError saying what was expected and what came.
"""

from __future__ import annotations

import re
from typing import Final, Protocol

from appliance.config.durations import EXPECTED as EXPECTED_DURATION
from appliance.config.durations import format_milliseconds, parse_milliseconds
from appliance.config.sizes import EXPECTED as EXPECTED_SIZE
from appliance.config.sizes import parse_size
from appliance.config.yaml_scalars import ScalarValue
from appliance.errors import ConfigError
from appliance.value import frozen

MAX_COUNT: Final = 10**9
NEVER: Final = "never"
_USER: Final = re.compile(r"[^\s:]+@")  # a password would follow a colon
_URL: Final = re.compile(
    r"([a-z]+)://([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::([1-9][0-9]{0,4}))?((?:/[A-Za-z0-9._~%!$&'()*+,;=:@-]*)*)"
)
_FILE_URL: Final = re.compile(r"file://(?:/[A-Za-z0-9._~%!$&'()*+,;=:@-]+)+/?")


class Kind(Protocol):
    """A kind of value."""

    @property
    def expected(self) -> str:
        """What to say when something else came: 'a whole number from 1 to 64'."""

    def read(self, value: ScalarValue) -> ScalarValue:
        """Return the value in its one form; raises ConfigError if it is not of this kind."""


@frozen
class Flag:
    """true or false."""

    expected: str = "true or false"

    def read(self, value: ScalarValue) -> bool:
        if not isinstance(value, bool):
            raise unexpected(self, value)
        return value


@frozen
class Count:
    """A whole number within bounds."""

    low: int = 0
    high: int = MAX_COUNT

    @property
    def expected(self) -> str:
        return f"a whole number from {self.low} to {self.high}"

    def read(self, value: ScalarValue) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise unexpected(self, value)
        if not self.low <= value <= self.high:
            raise unexpected(self, value)
        return value


@frozen
class Number:
    """A number, whole or decimal, within bounds."""

    low: float
    high: float

    @property
    def expected(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def read(self, value: ScalarValue) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise unexpected(self, value)
        if not self.low <= value <= self.high:
            raise unexpected(self, value)
        return float(value)


@frozen
class Text:
    """One line of printable text in a certain form."""

    expected: str
    pattern: str

    def read(self, value: ScalarValue) -> str:
        if not isinstance(value, str):
            raise unexpected(self, value, "quote it if it is text")
        if not value.isprintable() or not re.fullmatch(self.pattern, value):
            raise unexpected(self, value)
        return value


@frozen
class Word:
    """One of a few words or numbers."""

    choices: tuple[str | int, ...]

    @property
    def expected(self) -> str:
        return " or ".join(str(choice) for choice in self.choices)

    def read(self, value: ScalarValue) -> str | int:
        # Compared by type as well: True is not 1 here.
        for choice in self.choices:
            if type(choice) is type(value) and choice == value:
                return choice
        raise unexpected(self, value)


@frozen
class Duration:
    """A duration, kept as its canonical text."""

    low: int = 0  # milliseconds
    expected: str = EXPECTED_DURATION

    def read(self, value: ScalarValue) -> str:
        if isinstance(value, bool) or value is None:
            raise unexpected(self, value)
        milliseconds = parse_milliseconds(str(value))  # a number has no unit, and says so
        if milliseconds < self.low:
            least = format_milliseconds(self.low)
            raise ConfigError(f"expected {least} or more, got {value}", reason="bad-duration")
        return format_milliseconds(milliseconds)


@frozen
class Threshold:
    """A duration beyond which something is told, or `never`, kept as its canonical text."""

    low: int = 1000  # milliseconds
    expected: str = f"{EXPECTED_DURATION}, or {NEVER}"

    def read(self, value: ScalarValue) -> str:
        return NEVER if value == NEVER else Duration(self.low).read(value)


@frozen
class Size:
    """A number of bytes."""

    expected: str = EXPECTED_SIZE

    def read(self, value: ScalarValue) -> int:
        if isinstance(value, bool | float) or value is None:
            raise unexpected(self, value)
        return parse_size(str(value))


@frozen
class Url:
    """An absolute URL without password, query and fragment; kept without the slash at its end."""

    schemes: tuple[str, ...] = ("https", "http")
    named: tuple[str, ...] = ()  # the schemes whose URL may name a user

    @property
    def expected(self) -> str:
        return f"a URL such as {self.schemes[0]}://host.example/path"

    def read(self, value: ScalarValue) -> str:
        if not isinstance(value, str):
            raise unexpected(self, value)
        scheme, user, rest = _split_user(value)
        if user and (scheme not in self.named or not _USER.fullmatch(user)):
            raise ConfigError(
                "a URL here holds no user name or password",
                reason="bad-value",
                next_step="remove the part before the @",
            )
        found = _URL.fullmatch(f"{scheme}://{rest}" if user else value)
        if not found or found[1] not in self.schemes or int(found[3] or 1) > 65_535:
            raise unexpected(self, value)
        scheme, host, port, path = found.groups()
        return f"{scheme}://{user}{host.lower()}{f':{port}' if port else ''}{path.rstrip('/')}"


@frozen
class OrWord:
    """A value of a kind, or one word that stands for something else."""

    kind: Url
    word: str

    @property
    def expected(self) -> str:
        return f"{self.kind.expected}, or {self.word}"

    def read(self, value: ScalarValue) -> str:
        return self.word if value == self.word else self.kind.read(value)


@frozen
class SourceUrl:
    """Where a log is: a URL, or a directory or tar archive of this host as file:///PATH."""

    url: Url = Url()

    @property
    def expected(self) -> str:
        return f"{self.url.expected}, or file:///PATH for a directory or tar archive of tiles"

    def read(self, value: ScalarValue) -> str:
        if not isinstance(value, str) or not value.startswith("file:"):
            return self.url.read(value)
        if not _FILE_URL.fullmatch(value) or ".." in value.split("/"):
            raise unexpected(self, value, "write the absolute path, spaces as %20")
        return value.rstrip("/") or value


def _split_user(url: str) -> tuple[str, str, str]:
    """Split a URL into its scheme, the part up to and with the last @, and the rest."""
    scheme, _, after = url.partition("://")
    authority, slash, path = after.partition("/")
    user, at, host = authority.rpartition("@")
    return scheme, user + at, f"{host}{slash}{path}"


def unexpected(kind: Kind, value: ScalarValue, next_step: str = "") -> ConfigError:
    """Make the error for a value that is not of this kind."""
    got = "nothing" if value is None else repr(value)[:80]
    if isinstance(value, bool):
        got = str(value).lower()
    return ConfigError(
        f"expected {kind.expected}, got {got}",
        reason="bad-value",
        next_step=next_step or "see 'attestor config example'",
    )
