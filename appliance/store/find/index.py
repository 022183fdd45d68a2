"""index.db: where in the mirrored logs to look for a digest, a key or a name.

Derived from the entry bundles and disposable: no backup has it, no transfer bundle carries
it, nobody trusts it. It only proposes entries, each of which is read again. What it says of
its own coverage counts for an entry bundle whose blob is the very one it was made from: by the
digest of each, or by the stamp that 256 of them in a row had in the store when all that was
there was indexed.

The values that differ from entry to entry (digests, keys, certificates, commits) are hashed
to 40 bits, by 65,536 entries and the first 12 bits of the hash: in `tail` while more of them
come, then sorted in `term`.
What repeats from entry to entry is kept once, as a profile: all that one certificate claims.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from appliance.errors import StoreError
from appliance.store.failures import CORRUPT, database_error, file_error
from appliance.store.filesystem import home_is_ours
from appliance.store.mirror.logs import Log
from appliance.store.mirror.spans import SPAN_TILES
from appliance.tlog.tile import WIDTH
from appliance.value import frozen

T = TypeVar("T")

INDEX_NAME: Final = "index.db"
FORMAT: Final = 5  # of the tables; another one is rebuilt
_APPLICATION_ID: Final = 0x41545349  # "ATSI"
_LOG_SHIFT: Final = 40
_SEGMENT_BITS: Final = 16
_SEGMENT_TILES: Final = (1 << _SEGMENT_BITS) // WIDTH
_HASH_BYTES: Final = 5
_POSTING_BYTES: Final = 6  # 4 bytes from the second of the hash, and 2 of the place in the segment
_TOGETHER: Final = 500  # values in one query
_MAX_NAMED: Final = 20  # problems that one check names
# Of identities, in the order of their numbers: as of entries, 0 and 1 take no room.
IDENTITY_KINDS: Final = ("uri", "email", "dns", "other", "")
REBUILD: Final = "run 'attestor index rebuild'; nothing but the index is lost"

_SCHEMA: Final = (
    "CREATE TABLE identity (name TEXT NOT NULL, issuer TEXT NOT NULL, kind INTEGER NOT NULL,"
    " id INTEGER NOT NULL, PRIMARY KEY (name, issuer, kind)) STRICT, WITHOUT ROWID",
    # Of entries, numbered from 0: SQLite keeps a 0 and a 1 in their header, which most have.
    "CREATE TABLE kind (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT",
    "CREATE TABLE profile (digest BLOB NOT NULL PRIMARY KEY, id INTEGER NOT NULL)"
    " STRICT, WITHOUT ROWID",
    # The last numbers given: of identities, and of profiles.
    "CREATE TABLE numbers (identity INTEGER NOT NULL, profile INTEGER NOT NULL) STRICT",
    "CREATE TABLE profile_identity (identity INTEGER NOT NULL, profile INTEGER NOT NULL,"
    " kind INTEGER NOT NULL, PRIMARY KEY (identity, profile)) STRICT, WITHOUT ROWID",
    "CREATE TABLE claim (hash INTEGER NOT NULL, profile INTEGER NOT NULL,"
    " PRIMARY KEY (hash, profile)) STRICT, WITHOUT ROWID",
    "CREATE TABLE entry (profile INTEGER NOT NULL, ref INTEGER NOT NULL,"
    " PRIMARY KEY (profile, ref)) STRICT, WITHOUT ROWID",
    "CREATE TABLE tail (bucket INTEGER NOT NULL, segment INTEGER NOT NULL,"
    " postings BLOB NOT NULL, PRIMARY KEY (bucket, segment)) STRICT, WITHOUT ROWID",
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
# In this order each is one lookup by a primary key.
_KINDS_OF_PROFILE: Final = (
    "SELECT kind.name FROM identity AS i CROSS JOIN profile AS p CROSS JOIN profile_identity AS at"
    " CROSS JOIN entry AS e CROSS JOIN kind WHERE i.name = ? AND i.issuer = ? AND i.kind = ?"
    " AND p.digest = ? AND at.identity = i.id AND at.profile = p.id"
    " AND e.profile = p.id AND e.ref = ? AND kind.id = at.kind"
)


class Profile(NamedTuple):
    """What repeats from entry to entry: its kind, the holder of a certificate and its claims."""

    kind: str
    identities: tuple[tuple[str, str], ...]  # kind and name
    issuers: tuple[str, ...]
    claims: tuple[tuple[int, str], ...]  # last number of the Fulcio OID, and the text


@frozen
class IndexedBundle:
    """What the index keeps of one entry bundle. Places count from its first entry."""

    tile_index: int
    digest: bytes  # of its blob
    width: int
    terms: Sequence[Collection[bytes]]  # of each entry: digests, fingerprints, commits
    profiles: Sequence[tuple[Profile, int]]  # of its entries' certificates
    unread: Sequence[tuple[int, str]] = ()  # places of which not all could be read, and why


class _Postings(NamedTuple):
    """What is to be added of one segment: hashes of terms, each with its place."""

    new: set[bytes]
    again: set[bytes]  # of entry bundles of which some were there before


class Index:
    """The open index of one home."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection

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
                found: dict[int, _Postings] = {}
                of_profiles: dict[Profile, list[int]] = {}
                for bundle in bundles:
                    segment = bundle.tile_index // _SEGMENT_TILES
                    self._add_bundle(
                        log, bundle, of_profiles, found.setdefault(segment, _Postings(set(), set()))
                    )
                self._add_profiles(of_profiles)
                for segment, postings in sorted(found.items()):
                    self._keep(log, segment, postings)
                if whole is not None:
                    values = [log.id, *whole]
                    self._execute("INSERT OR REPLACE INTO indexed_span VALUES (?, ?, ?)", values)
                self._execute("COMMIT")
            except BaseException:
                self.connection.rollback()
                raise

    def _add_bundle(
        self,
        log: Log,
        bundle: IndexedBundle,
        of_profiles: dict[Profile, list[int]],
        of_terms: _Postings,
    ) -> None:
        """Index all of a bundle but its profiles, each with its entries, and its terms."""
        first = log.id << _LOG_SHIFT | bundle.tile_index * WIDTH
        self._execute("DELETE FROM opaque WHERE ref >= ? AND ref < ?", [first, first + WIDTH])
        unread = [(first + at, why) for at, why in bundle.unread]
        self._execute_many("INSERT INTO opaque VALUES (?, ?)", unread)
        # Mostly the very same object, which is faster to know again than an equal one.
        same: dict[int, list[int]] = {}
        for profile, at in bundle.profiles:
            refs = same.get(id(profile))
            if refs is None:
                refs = same[id(profile)] = of_profiles.setdefault(profile, [])
            refs.append(first + at)
        which = [log.id, bundle.tile_index]
        was_there = self._execute(
            "SELECT 1 FROM indexed WHERE log_id = ? AND tile_index = ?", which
        ).fetchone()
        # Nobody sees it before its terms and profiles, which follow in the same transaction.
        self._execute(
            "INSERT OR REPLACE INTO indexed VALUES (?, ?, ?, ?)",
            [*which, bundle.digest, bundle.width],
        )
        start = bundle.tile_index % _SEGMENT_TILES * WIDTH
        postings = of_terms.again if was_there else of_terms.new
        for place, terms in enumerate(bundle.terms, start):
            raw = place.to_bytes(2)
            postings.update([sha256(term).digest()[:_HASH_BYTES] + raw for term in terms])

    def _add_profiles(self, found: Mapping[Profile, Sequence[int]]) -> None:
        """Add profiles with their entries; those that are not known yet get their numbers."""
        digests = {_profile_digest(profile): profile for profile in found}
        known: dict[bytes, int] = {}
        for some in _together(sorted(digests)):
            sql = f"SELECT digest, id FROM profile WHERE digest {_among(some)}"  # noqa: S608 ours
            known.update(self._execute(sql, some))
        (last,) = self._execute("SELECT profile FROM numbers").fetchone()
        new = sorted(digests.keys() - known.keys())
        known.update(zip(new, itertools.count(last + 1)))
        self._execute("UPDATE numbers SET profile = ?", [last + len(new)])
        self._execute_many("INSERT INTO profile VALUES (?, ?)", [(one, known[one]) for one in new])
        self._describe({known[one]: digests[one] for one in new})
        refs = [(known[one], ref) for one, profile in digests.items() for ref in found[profile]]
        refs.sort()
        self._execute_many("INSERT INTO entry VALUES (?, ?) ON CONFLICT DO NOTHING", refs)

    def _kinds(self, names: Iterable[str]) -> dict[str, int]:
        """Return the numbers of kinds of entries; those that are not known yet get one."""
        known = dict(self._execute("SELECT name, id FROM kind"))
        new = dict(zip(sorted(set(names) - known.keys()), itertools.count(len(known))))
        self._execute_many("INSERT INTO kind (name, id) VALUES (?, ?)", new.items())
        return known | new

    def _describe(self, new: Mapping[int, Profile]) -> None:
        """Add what new profiles say, by their numbers."""
        named: dict[tuple[str, str, int], list[int]] = {}
        claims: set[tuple[int, int]] = set()
        kinds = self._kinds({profile.kind for profile in new.values()})
        hashes: dict[str, int] = {}  # many say the same
        for number, profile in new.items():
            for who in _named(profile):
                named.setdefault(who, []).append(number)
            # Keyed on the profile: certificates of one identity differ in their claims.
            for _, text in profile.claims:
                if text not in hashes:
                    hashes[text] = _claim_hash(text)
                claims.add((hashes[text], number))
        (last,) = self._execute("SELECT identity FROM numbers").fetchone()
        identities, pairs = [], []
        for who, profiles in sorted(named.items()):
            row = self._execute(
                "SELECT id FROM identity WHERE name = ? AND issuer = ? AND kind = ?", who
            ).fetchone()
            if row is None:
                last += 1
                identities.append((*who, last))
            identity = last if row is None else row[0]
            pairs += [(identity, number, kinds[new[number].kind]) for number in profiles]
        self._execute("UPDATE numbers SET identity = ?", [last])
        self._execute_many("INSERT INTO identity VALUES (?, ?, ?, ?)", identities)
        insert = "INSERT INTO profile_identity VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        self._execute_many(insert, sorted(pairs))
        self._execute_many("INSERT INTO claim VALUES (?, ?) ON CONFLICT DO NOTHING", sorted(claims))

    def _keep(self, log: Log, segment: int, postings: _Postings) -> None:
        """Add the postings of a segment, sorted if its entry bundles are all full and indexed."""
        first = segment * _SEGMENT_TILES
        (full,) = self._execute(
            "SELECT count(*) FROM indexed WHERE log_id = ? AND tile_index >= ? AND tile_index < ?"
            " AND width = ?",
            [log.id, first, first + _SEGMENT_TILES, WIDTH],
        ).fetchone()
        number = (log.id << _LOG_SHIFT >> _SEGMENT_BITS) + segment
        if full != _SEGMENT_TILES:
            self._append(number, postings)
            return
        found: dict[int, set[bytes]] = {}
        rows = self._execute("SELECT bucket, postings FROM tail WHERE segment = ?", [number])
        for bucket, packed in rows:
            found[bucket] = {*_split(packed)}
        for bucket, some in _by_bucket(postings.new | postings.again):
            ours = found.setdefault(bucket, set())
            ours.update(some)
            row = self._execute(
                "SELECT postings FROM term WHERE bucket = ? AND segment = ?", [bucket, number]
            ).fetchone()
            if row is not None:
                ours.update(_split(row[0]))
        terms = [(bucket, number, b"".join(sorted(some))) for bucket, some in sorted(found.items())]
        self._execute_many("INSERT OR REPLACE INTO term VALUES (?, ?, ?)", terms)
        self._execute("DELETE FROM tail WHERE segment = ?", [number])

    def _append(self, number: int, postings: _Postings) -> None:
        """Add postings to a segment that grows; of a bundle that was there, what is new of it."""
        new = postings.new
        for bucket, some in _by_bucket(postings.again):
            row = self._execute(
                "SELECT postings FROM tail WHERE bucket = ? AND segment = ?", [bucket, number]
            ).fetchone()
            known = {*_split(row[0])} if row is not None else set()
            head = bucket >> 4
            new |= {bytes((head,)) + one for one in some if one not in known}
        rows = [(bucket, number, b"".join(some)) for bucket, some in _by_bucket(new)]
        self._execute_many(
            "INSERT INTO tail VALUES (?, ?, ?) ON CONFLICT (bucket, segment) DO UPDATE"
            " SET postings = CAST(postings || excluded.postings AS BLOB)",
            rows,
        )

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
        where = "WHERE bucket = ?1 AND segment >= ?2 AND segment < ?3"
        found: set[int] = set()
        for segment, postings in self._rows(
            f"SELECT segment, postings FROM term {where}"  # noqa: S608 ours
            f" UNION ALL SELECT segment, postings FROM tail {where}",
            [_bucket(wanted), low >> _SEGMENT_BITS, high >> _SEGMENT_BITS],
        ):
            start = (segment << _SEGMENT_BITS) - low
            found.update(start + place for place in _places(postings, wanted[1:]))
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
        for some in _together(list(names)):
            found |= self._of_identities(log, f"i.name {_among(some)}", some)
        return found

    def with_issuer(self, log: Log, issuer: str) -> set[int]:
        """Return the entries with a certificate that names an issuer."""
        return self._of_identities(log, "issuer = ?", [issuer])

    def with_claim(self, log: Log, text: str) -> set[int]:
        """Return the entries with a certificate that may say this in some claim."""
        return self._refs(
            log,
            "SELECT e.ref FROM claim JOIN entry AS e USING (profile) WHERE claim.hash = ?",
            [_claim_hash(text)],
        )

    def has_profile(self, log: Log, entry_index: int, profile: Profile) -> bool:
        """Whether an entry is under its profile, with its kind and those whom that names."""
        of_entry = [_profile_digest(profile), _bounds(log)[0] + entry_index]
        return all(
            self._rows(_KINDS_OF_PROFILE, [*who, *of_entry]) == [(profile.kind,)]
            for who in _named(profile)
        )

    def problems(self) -> list[str]:
        """Read every page, and name what is wrong, at most _MAX_NAMED things."""
        try:
            found = [one for (one,) in self._rows(f"PRAGMA quick_check({_MAX_NAMED})", [])]
        except StoreError as error:
            if error.reason != CORRUPT:
                raise
            return [error.message]
        return [] if found == ["ok"] else found

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

    def n_bytes(self) -> int:
        """Return how many bytes the index has."""
        ((pages, page_bytes),) = self._rows(
            "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size", []
        )
        return int(pages * page_bytes)

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

    def _execute_many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self.connection.executemany(sql, rows)


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
    if not write:
        roll_index_back(home)
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


def roll_index_back(home: Path) -> None:
    """Roll back what a killed writer left of the index, if we may: who only reads cannot.

    Does nothing beside a writer that lives. Raises StoreError if it cannot be done.
    """
    path = index_path(home)
    with index_errors(path):
        try:
            left = path.with_name(f"{INDEX_NAME}-journal").stat().st_size
        except FileNotFoundError:
            return
        if left and home_is_ours(home) and os.access(path, os.W_OK):
            with contextlib.closing(_connect(path, "rw")) as connection:
                connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


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
                connection.execute("INSERT INTO numbers VALUES (0, 0)")
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


def _named(profile: Profile) -> Iterator[tuple[str, str, int]]:
    """Yield whom a profile names as `identity` has it: name, issuer, number of its kind."""
    names, issuers = profile.identities or (("", ""),), profile.issuers or ("",)
    for (kind, name), issuer in itertools.product(names, issuers):
        yield name, issuer, IDENTITY_KINDS.index(kind)


def _profile_digest(profile: Profile) -> bytes:
    return sha256(repr(profile).encode("utf-8", "surrogatepass")).digest()[:16]


def _together(values: list[T]) -> Iterator[list[T]]:
    for at in range(0, len(values), _TOGETHER):
        yield values[at : at + _TOGETHER]


def _among(values: Sequence[object]) -> str:
    """Return the condition that a column is among as many values."""
    return f"IN ({', '.join('?' * len(values))})"


def _claim_hash(text: str) -> int:
    """Return 32 bits: claims with different numbers often say the same, which is kept once."""
    raw = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(sha256(raw).digest()[:4], signed=True)


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


def _by_bucket(postings: Iterable[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield buckets with the postings of each, in order, without what the bucket says."""
    for bucket, some in itertools.groupby(sorted(postings), _bucket):
        yield bucket, [one[1:] for one in some]


def _places(postings: bytes, wanted: bytes) -> Iterator[int]:
    """Yield the places in a segment of the postings that begin so."""
    at = postings.find(wanted)
    while at >= 0:
        if at % _POSTING_BYTES == 0:
            yield int.from_bytes(postings[at + len(wanted) : at + _POSTING_BYTES])
        at = postings.find(wanted, at + 1)


def _split(postings: bytes) -> Iterator[bytes]:
    for start in range(0, len(postings), _POSTING_BYTES):
        yield postings[start : start + _POSTING_BYTES]
