"""Where the passphrases of encrypted private keys are: in files, each with one line.

Which file, of those that are named, the first: of --passphrase-file; of the credentials that
systemd gave this service, `NAME.passphrase` of the key NAME, else `attestor.passphrase`; of
the setting keys.passphraseFile. Nothing is read before an encrypted key asks for it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from appliance.errors import ConfigError, MalformedError
from appliance.store.secret_files import read_private
from appliance.value import frozen

MAX_PASSPHRASE_BYTES: Final = 1023  # what OpenSSL takes
FILE_SETTING: Final = "keys.passphraseFile"
CREDENTIAL: Final = "attestor.passphrase"
CREDENTIAL_OF: Final = "{}.passphrase"
_MAX_FILE_BYTES: Final = 4096
_LINE_ENDS: Final = (b"\r\n", b"\n")


@frozen
class Passphrase:
    """What opens a key. Never printed: its repr shows only where it is from."""

    secret: bytes
    file: Path

    def __repr__(self) -> str:
        return f"Passphrase({str(self.file)!r})"

    @property
    def hint(self) -> str:
        """What to look at first if it opens nothing; empty if it looks as most do."""
        is_padded = self.secret != self.secret.strip()
        return ", which begins or ends in white space," if is_padded else ""


def _nothing() -> str | None:
    return None


@frozen
class Passphrases:
    """The files that are named for one run, whether they are there or not."""

    file: Path | None = None  # of --passphrase-file
    credentials: Path | None = None  # the directory that systemd made for this service
    setting: Callable[[], str | None] = _nothing  # keys.passphraseFile, read if it is needed

    def find(self, name: str) -> Passphrase | None:
        """Return the passphrase for the key `name`; None if no file is named for it.

        Raises ConfigError if the file that is named is not there (no-secret), can be read by
        others (key-permissions), or holds no passphrase (bad-passphrase).
        """
        if self.file is not None:
            return read_passphrase(self.file)
        if self.credentials is not None:
            for credential in (CREDENTIAL_OF.format(name), CREDENTIAL):
                path = self.credentials / credential
                found = _read(path, is_credential=True)
                if found is not None:
                    return found
        setting = self.setting()
        return None if setting is None else read_passphrase(Path(setting))


NO_PASSPHRASES: Final = Passphrases()


def read_passphrase(path: Path) -> Passphrase:
    """Read the passphrase in a file; raises ConfigError as Passphrases.find does."""
    found = _read(path)
    if found is None:
        raise ConfigError(
            f"the passphrase file {path} is not there", reason="no-secret", next_step="put it there"
        )
    return found


def _read(path: Path, *, is_credential: bool = False) -> Passphrase | None:
    try:
        raw = read_private(path, _MAX_FILE_BYTES, is_credential=is_credential)
    except MalformedError as error:
        raise _bad(path, f"it is larger than {_MAX_FILE_BYTES} bytes") from error
    return None if raw is None else Passphrase(_only_line(path, raw), path)


def _only_line(path: Path, raw: bytes) -> bytes:
    """Return the line without its end, whether that is there or not; never quotes it."""
    if b"\0" in raw:
        raise _bad(path, "it has a zero byte: is it UTF-16?")
    line = raw
    for end in _LINE_ENDS:
        if raw.endswith(end):
            line = raw.removesuffix(end)
            break
    if not line:
        raise _bad(path, "it is empty")
    if b"\n" in line or b"\r" in line:
        raise _bad(path, "it has several lines")
    if line.startswith(b"\xef\xbb\xbf"):
        raise _bad(path, "it begins with a byte order mark")
    if len(line) > MAX_PASSPHRASE_BYTES:
        raise _bad(path, f"it is longer than {MAX_PASSPHRASE_BYTES} bytes")
    return line


def _bad(path: Path, what: str) -> ConfigError:
    return ConfigError(
        f"{path}: expected a passphrase on one line, {what}",
        reason="bad-passphrase",
        next_step="write it anew: the passphrase alone, as bytes of ASCII or UTF-8",
    )
