"""index.db: where in the mirrored logs to look for a digest, a key or a name.

Derived from the entry bundles and disposable: no backup has it, no transfer bundle carries
it, nobody trusts it. It only proposes entries, each of which is read again. What it says of
its own coverage counts for an entry bundle whose blob is the very one it was made from: by the
digest of each, or by the stamp that 256 of them in a row had in the store when all that was
there was indexed.

The values that differ from entry to entry (digests, keys, certificates, commits) are hashed
to 48 bits: in `tail` while their segment of 65,536 entries grows, then packed in `term`.
What repeats from entry to entry is kept once, as a profile: all that one certificate claims.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from appliance.errors import StoreError
from appliance.store.failures import database_error, file_error
from appliance.store.mirror.logs import Log
from appliance.store.mirror.spans import SPAN_TILES
from appliance.tlog.tile import WIDTH
from appliance.value import frozen

INDEX_NAME: Final = "index.db"
FORMAT: Final = 2  # of the tables; another one is rebuilt
_APPLICATION_ID: Final = 0x41545349  # "ATSI"
_LOG_SHIFT: Final = 40
_SEGMENT_BITS: Final = 16
_SEGMENT_TILES: Final = (1 << _SEGMENT_BITS) // WIDTH
_HASH_BYTES: Final = 6
_POSTING_BYTES: Final = 7  # the last 5 bytes of a hash, and 2 of the place in the segment
_MAX_KNOWN: Final = 50_000  # profiles remembered while building
_NAMES_TOGETHER: Final = 500  # in one query
REBUILD: Final = "run 'attestor index rebuild'; nothing but the index is lost"

_SCHEMA: Final = (
    "CREATE TABLE identity (id INTEGER PRIMARY KEY, name TEXT NOT NULL, issuer TEXT NOT NULL,"
    " UNIQUE (name, issuer)) STRICT",
    "CREATE TABLE profile (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE) STRICT",
    "CREATE TABLE profile_identity (identity INTEGER NOT NULL, profile INTEGER NOT NULL,"
    " PRIMARY KEY (identity, profile)) STRICT, WITHOUT ROWID",
    "CREATE TABLE claim (hash INTEGER NOT NULL, profile INTEGER NOT NULL,"
    " PRIMARY KEY (hash, profile)) STRICT, WITHOUT ROWID",
    "CREATE TABLE entry (profile INTEGER NOT NULL, ref INTEGER NOT NULL,"
    " PRIMARY KEY (profile, ref)) STRICT, WITHOUT ROWID",
    "CREATE TABLE tail (hash BLOB NOT NULL, ref INTEGER NOT NULL,"
    " PRIMARY KEY (hash, ref)) STRICT, WITHOUT ROWID",
    "CREATE TABLE term (bucket INTEGER NOT NULL, segment INTEGER NOT NULL,"
    " postings BLOB NOT NULL, PRIMARY KEY (bucket, segment)) STRICT, WITHOUT ROWID",
    "CREATE TABLE opaque (ref INTEGER PRIMARY KEY, why TEXT NOT NULL) STRICT",
    "CREATE TABLE indexed (log_id INTEGER NOT NULL, tile_index INTEGER NOT NULL,"
    " digest BLOB NOT NULL, width INTEGER NOT NULL,"
    " PRIMARY KEY (log_id, tile_index)) STRICT, WITHOUT ROWID",
    "CREATE TABLE indexed_span (log_id INTEGER NOT NULL, span INTEGER NOT NULL,"
    " stamp INTEGER NOT NULL, PRIMARY KEY (log_id, span)) STRICT, WITHOUT ROWID",
)
_OF_IDENTITIES: Final = (
    "SELECT e.ref FROM identity AS i JOIN profile_identity AS p ON p.identity = i.id"
    " JOIN entry AS e ON e.profile = p.profile WHERE "
)


@frozen
class Profile:
    """What repeats from entry to entry: the holder of a certificate and its claims."""

    identities: tuple[str, ...]
    issuers: tuple[str, ...]
    claims: tuple[tuple[int, str], ...]  # last number of the Fulcio OID, and the text


@frozen
class IndexEntry:
    """What the index keeps of one entry."""

    entry_index: int
    terms: tuple[bytes, ...]  # digests, fingerprints, commits
    profiles: tuple[Profile, ...]  # of its certificates
    unread: str = ""  # what could not be read of it; empty: all was


@frozen
class IndexedBundle:
    """One entry bundle, as it is indexed."""

    tile_index: int
    digest: bytes  # of its blob
    entries: Sequence[IndexEntry]


class Index:
    """The open index of one home."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self._known: dict[bytes, int] = {}

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    # --- writing

    def add(
        self, log: Log, bundles: Iterable[IndexedBundle], whole: tuple[int, int] | None = None
    ) -> None:
        """Index entry bundles of a log, with their coverage: all or nothing.

        A bundle that was narrower, or another, when it was indexed is indexed anew. `whole`: a
        span that is then indexed as it was stored at this stamp.
        """
        with index_errors(self.path):
            self._execute("BEGIN IMMEDIATE")
            try:
                tiles = [self._add_bundle(log, bundle) for bundle in bundles]
                for segment in sorted({tile // _SEGMENT_TILES for tile in tiles}):
                    self._seal(log, segment)
                if whole is not None:
                    values = [log.id, *whole]
                    self._execute("INSERT OR REPLACE INTO indexed_span VALUES (?, ?, ?)", values)
                self._execute("COMMIT")
            except BaseException:
                self.connection.rollback()
                self._known.clear()
                raise

    def _add_bundle(self, log: Log, bundle: IndexedBundle) -> int:
        for one in bundle.entries:
            ref = log.id << _LOG_SHIFT | one.entry_index
            for term in one.terms:
                values = [_term_hash(term), ref]
                self._execute("INSERT INTO tail VALUES (?, ?) ON CONFLICT DO NOTHING", values)
            for profile in one.profiles:
                values = [self._profile(profile), ref]
                self._execute("INSERT INTO entry VALUES (?, ?) ON CONFLICT DO NOTHING", values)
            self._execute("DELETE FROM opaque WHERE ref = ?", [ref])
            if one.unread:
                self._execute("INSERT INTO opaque VALUES (?, ?)", [ref, one.unread])
        # Last: whatever is said to be covered can be found.
        self._execute(
            "INSERT OR REPLACE INTO indexed VALUES (?, ?, ?, ?)",
            [log.id, bundle.tile_index, bundle.digest, len(bundle.entries)],
        )
        return bundle.tile_index

    def _profile(self, profile: Profile) -> int:
        digest = sha256(repr(profile).encode("utf-8", "surrogatepass")).digest()[:16]
        known = self._known.get(digest)
        if known is not None:
            return known
        row = self._execute("SELECT id FROM profile WHERE digest = ?", [digest]).fetchone()
        if row is None:
            added = self._execute("INSERT INTO profile (digest) VALUES (?)", [digest])
            known = int(added.lastrowid or 0)
            self._describe(known, profile)
        else:
            known = int(row[0])
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[digest] = known
        return known

    def _describe(self, profile_id: int, profile: Profile) -> None:
        for name in profile.identities or ("",):
            for issuer in profile.issuers or ("",):
                self._execute(
                    "INSERT INTO identity (name, issuer) VALUES (?, ?) ON CONFLICT DO NOTHING",
                    [name, issuer],
                )
                self._execute(
                    "INSERT INTO profile_identity SELECT id, ? FROM identity"
                    " WHERE name = ? AND issuer = ? ON CONFLICT DO NOTHING",
                    [profile_id, name, issuer],
                )
        # Keyed on the profile: certificates of one identity differ in their claims.
        for number, text in profile.claims:
            values = [_claim_hash(number, text), profile_id]
            self._execute("INSERT INTO claim VALUES (?, ?) ON CONFLICT DO NOTHING", values)

    def _seal(self, log: Log, segment: int) -> None:
        """Pack the terms of a segment whose entry bundles are all full and indexed."""
        first = segment * _SEGMENT_TILES
        (full,) = self._execute(
            "SELECT count(*) FROM indexed WHERE log_id = ? AND tile_index >= ? AND tile_index < ?"
            " AND width = ?",
            [log.id, first, first + _SEGMENT_TILES, WIDTH],
        ).fetchone()
        if full != _SEGMENT_TILES:
            return
        start = log.id << _LOG_SHIFT | segment << _SEGMENT_BITS
        bounds = [start, start + (1 << _SEGMENT_BITS)]
        buckets: dict[int, set[bytes]] = {}
        for term, ref in self._execute(
            "SELECT hash, ref FROM tail WHERE ref >= ? AND ref < ?", bounds
        ):
            posting = term[1:] + (ref - start).to_bytes(2)
            buckets.setdefault(_bucket(term), set()).add(posting)
        number = start >> _SEGMENT_BITS
        for bucket, postings in buckets.items():
            row = self._execute(
                "SELECT postings FROM term WHERE bucket = ? AND segment = ?", [bucket, number]
            ).fetchone()
            packed = b"".join(sorted(postings.union(_split(row[0]) if row else ())))
            self._execute("INSERT OR REPLACE INTO term VALUES (?, ?, ?)", [bucket, number, packed])
        self._execute("DELETE FROM tail WHERE ref >= ? AND ref < ?", bounds)

    # --- reading

    def covered(self, log: Log, span: int) -> dict[int, tuple[bytes, int]]:
        """Return digest and width of a span's entry bundles that are indexed, by tile index."""
        first = span * SPAN_TILES
        rows = self._rows(
            "SELECT tile_index, digest, width FROM indexed"
            " WHERE log_id = ? AND tile_index >= ? AND tile_index < ?",
            [log.id, first, first + SPAN_TILES],
        )
        return {tile: (digest, width) for tile, digest, width in rows}

    def stamps(self, log: Log) -> dict[int, int]:
        """Return the stamps of the spans that were indexed as they were stored, by span."""
        sql = "SELECT span, stamp FROM indexed_span WHERE log_id = ?"
        return dict(self._rows(sql, [log.id]))

    def opaque(self, log: Log) -> list[tuple[int, str]]:
        """List the entries of a log that could not be read whole, and why, by index."""
        rows = self._rows(
            "SELECT ref, why FROM opaque WHERE ref >= ? AND ref < ? ORDER BY ref", _bounds(log)
        )
        return [(ref - _bounds(log)[0], why) for ref, why in rows]

    def with_term(self, log: Log, term: bytes) -> set[int]:
        """Return the entries of a log that may hold a term."""
        wanted = _term_hash(term)
        low, high = _bounds(log)
        found = {
            ref - low
            for (ref,) in self._rows(
                "SELECT ref FROM tail WHERE hash = ? AND ref >= ? AND ref < ?", [wanted, low, high]
            )
        }
        for segment, postings in self._rows(
            "SELECT segment, postings FROM term WHERE bucket = ? AND segment >= ? AND segment < ?",
            [_bucket(wanted), low >> _SEGMENT_BITS, high >> _SEGMENT_BITS],
        ):
            start = (segment << _SEGMENT_BITS) - low
            found |= {
                start + int.from_bytes(one[5:]) for one in _split(postings) if one[:5] == wanted[1:]
            }
        return found

    def with_identity(self, log: Log, name: str, *, prefix: bool = False) -> set[int]:
        """Return the entries with a certificate for an identity, or one that begins so."""
        where, values = "name = ?", [name]
        if prefix:
            where, values = "name >= ? AND name < ?", [name, _after(name)]
        return self._of_identities(log, where, values)

    def with_identities(self, log: Log, names: Iterable[str]) -> set[int]:
        """Return the entries with a certificate for any of these identities."""
        found: set[int] = set()
        # As parameters: JSON's functions end a text at its first NUL.
        wanted = list(names)
        for at in range(0, len(wanted), _NAMES_TOGETHER):
            some = wanted[at : at + _NAMES_TOGETHER]
            where = f"i.name IN ({', '.join('?' * len(some))})"
            found |= self._of_identities(log, where, some)
        return found

    def with_issuer(self, log: Log, issuer: str) -> set[int]:
        """Return the entries with a certificate that names an issuer."""
        return self._of_identities(log, "issuer = ?", [issuer])

    def with_claim(self, log: Log, number: int, text: str) -> set[int]:
        """Return the entries with a certificate that may make a claim."""
        return self._refs(
            log,
            "SELECT e.ref FROM claim JOIN entry AS e USING (profile) WHERE claim.hash = ?",
            [_claim_hash(number, text)],
        )

    def identities(self, prefix: str = "") -> list[str]:
        """List the distinct identities of all logs, or those that begin with a prefix."""
        if not prefix:
            return self._names("SELECT DISTINCT name FROM identity", [])
        sql = "SELECT DISTINCT name FROM identity WHERE name >= ? AND name < ?"
        return self._names(sql, [prefix, _after(prefix)])

    def issuers(self, prefix: str = "") -> list[str]:
        """List the distinct issuers of all logs, or those that begin with a prefix."""
        found = self._names("SELECT DISTINCT issuer FROM identity", [])
        return [one for one in found if one.startswith(prefix)]

    def _names(self, sql: str, values: list[str]) -> list[str]:
        return [name for (name,) in self._rows(sql, values)]

    def count(self, log: Log) -> int:
        """Count the entries of a log that are indexed."""
        rows = self._rows("SELECT sum(width) FROM indexed WHERE log_id = ?", [log.id])
        return int(rows[0][0] or 0)

    def _of_identities(self, log: Log, where: str, values: list[str]) -> set[int]:
        return self._refs(log, _OF_IDENTITIES + where, values)

    def _refs(self, log: Log, sql: str, values: list[Any]) -> set[int]:
        low, high = _bounds(log)
        rows = self._rows(f"{sql} AND e.ref >= ? AND e.ref < ?", [*values, low, high])
        return {ref - low for (ref,) in rows}

    def _rows(self, sql: str, values: Sequence[Any]) -> list[Any]:
        with index_errors(self.path):
            return self._execute(sql, values).fetchall()

    def _execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        return self.connection.execute(sql, values)


def empty_index_schema(schema: str) -> tuple[str, ...]:
    """Return the statements that make an empty index in an attached database of this name."""
    return tuple(
        one.replace("CREATE TABLE ", f"CREATE TABLE {schema}.", 1)
        for one in _SCHEMA
        if one.startswith("CREATE TABLE ")
    )


def index_path(home: Path) -> Path:
    """Return where the index of a home is, or would be."""
    return home / INDEX_NAME


def index_size(home: Path) -> int | None:
    """Return how many bytes the index has; None if there is none."""
    try:
        return index_path(home).stat().st_size
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_error(index_path(home), error) from error


def open_index(home: Path, *, write: bool) -> Index | None:
    """Open the index of a home; None if there is none.

    Raises StoreError if it is damaged or of another format.
    """
    path = index_path(home)
    if not path.is_file():
        return None
    with index_errors(path):
        index = Index(path, _connect(path, "rw" if write else "ro"))
        try:
            (found,) = index.connection.execute("PRAGMA user_version").fetchone()
            if found != FORMAT:
                raise StoreError(
                    f"{path} is of format {found}, this program's is {FORMAT}",
                    reason="index-format",
                    next_step=REBUILD,
                )
        except BaseException:
            index.close()
            raise
    return index


def create_index(home: Path) -> Index:
    """Open the index of a home for writing; an empty one if there was none."""
    path = index_path(home)
    with index_errors(path):
        if not path.is_file():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
        connection = _connect(path, "rw")
        try:
            if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0] == 0:
                connection.execute("BEGIN IMMEDIATE")
                for statement in _SCHEMA:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT}")
                connection.execute("COMMIT")
        finally:
            connection.close()
    opened = open_index(home, write=True)
    if opened is None:
        raise StoreError(f"{path} went away", reason="file", next_step=REBUILD)
    return opened


def drop_index(home: Path) -> bool:
    """Delete the index of a home; returns whether there was one."""
    path = index_path(home)
    try:
        was = path.exists()
        for name in (f"{INDEX_NAME}-journal", INDEX_NAME):
            (home / name).unlink(missing_ok=True)
    except OSError as error:
        raise file_error(path, error) from error
    return was


@contextlib.contextmanager
def index_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the filesystem say of the index into StoreError."""
    try:
        yield
    except sqlite3.Error as error:
        found = database_error(path, error)
        if found.reason in ("corrupt", "database"):
            found.next_step = REBUILD
        raise found from error
    except OSError as error:
        raise file_error(path, error) from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=10.0
    )
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")
    if mode == "rw":
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def _bounds(log: Log) -> list[int]:
    return [log.id << _LOG_SHIFT, (log.id + 1) << _LOG_SHIFT]


def _term_hash(term: bytes) -> bytes:
    return sha256(term).digest()[:_HASH_BYTES]


def _claim_hash(number: int, text: str) -> int:
    raw = f"{number}={text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(sha256(raw).digest()[:8], signed=True)


def _after(prefix: str) -> str:
    """Return the first text, by code points, after all that begin with a prefix."""
    last = ord(prefix[-1]) + 1
    if last == 0xD800:  # no characters: halves of pairs
        last = 0xE000
    if last > sys.maxunicode:
        return _after(prefix[:-1]) if prefix[:-1] else prefix + "\U0010ffff" * 65_536
    return prefix[:-1] + chr(last)


def _bucket(term: bytes) -> int:
    return term[0] << 4 | term[1] >> 4


def _split(postings: bytes) -> Iterator[bytes]:
    for start in range(0, len(postings), _POSTING_BYTES):
        yield postings[start : start + _POSTING_BYTES]
