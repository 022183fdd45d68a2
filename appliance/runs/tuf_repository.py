"""Keeping a TUF repository of what clients of a private log are told.

A directory that any web server serves. What a reader may see at any instant is one whole
state: every file has its version or digest in its name, except the timestamp, which is
replaced last, in one step. When a key is replaced, what it signed is signed by both keys
before the root that names the new one appears, so that both roots lead to the same files.

The directory is what was published; this home has the keys, and remembers the versions, so
that no older copy is continued: clients would take that for an attack.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tuf.api import exceptions
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from appliance.errors import (
    ArgumentError,
    DigestError,
    IncompleteError,
    MalformedError,
    RefusedError,
)
from appliance.fetch.tuf_metadata import Verified, verify_chain
from appliance.jobs.home.keys import TUF, generate_key
from appliance.runs.exit_codes import naming
from appliance.runs.session import Session
from appliance.sigstore.signing_config import parse_signing_config
from appliance.sigstore.trusted_root import parse_trusted_root
from appliance.sigstore.tuf_writing import (
    DAY_SECONDS,
    KEY_OF,
    LIFE_DAYS,
    OFFLINE,
    is_due,
    make_root,
    make_snapshot,
    make_targets,
    make_timestamp,
    public_key,
    signed,
    target_name,
)
from appliance.store.database import Store
from appliance.store.files import create_directory, names_in, read_foreign, written_whole
from appliance.store.home.journal import append_event
from appliance.store.home.key_files import key_names, load_signing_key
from appliance.store.home.settings import put_site_fact, site_fact
from appliance.store.private_log.private_logs import PrivateLog, require_private_log
from appliance.times import utc
from appliance.tlog.note import SigningKey
from appliance.value import frozen

TRUSTED_ROOT: Final = "trusted_root.json"
SIGNING_CONFIG: Final = "signing_config.v0.2.json"  # the name under which clients look for it
MAX_FILE_BYTES: Final = 2 * 1024 * 1024
MAX_METADATA_BYTES: Final = 512_000
MAX_NAMES: Final = 100_000
WARN_DAYS: Final = 60  # before what needs the offline key runs out
_BELOW_ROOT: Final = ("timestamp", "snapshot", "targets")
_OURS: Final = re.compile(
    r"targets|timestamp\.json|[1-9][0-9]*\.(root|targets|snapshot)\.json|\..*\.tmp"
)


@frozen
class Wanted:
    """What an invocation asks for."""

    log: str | None = None
    client_config: Path | None = None  # the directory that log client-config wrote
    refresh: bool = False  # only what the online key signs
    rotate: tuple[str, ...] = ()  # OFFLINE, ONLINE: keys to replace
    timestamp_days: int = LIFE_DAYS["timestamp"]
    start_over: bool = False


@frozen
class Published:
    """What is in the directory, verified from its first root on."""

    roots: tuple[Verified, ...]
    timestamp: Verified
    snapshot: Verified
    targets: Verified
    files: Mapping[str, bytes]

    def version(self, role: str) -> int:
        """Return the version of a role that counts now."""
        return self.of(role).version

    def of(self, role: str) -> Verified:
        """Return the metadata of a role that counts now."""
        found: Verified = self.roots[-1] if role == "root" else getattr(self, role)
        return found

    @property
    def root(self) -> Root:
        """The root that counts now."""
        return Metadata[Root].from_bytes(self.roots[-1].raw).signed


@frozen
class Outcome:
    """What the directory holds now, and which roles were published by this run."""

    published: Published
    changed: tuple[str, ...]
    new_keys: tuple[str, ...]  # by name
    warnings: tuple[str, ...]


def keep_repository(session: Session, directory: Path, wanted: Wanted) -> Outcome:
    """Bring the repository in `directory` to what is wanted, and let no part of it run out.

    Raises ArgumentError if there is none and nothing to make it of, RefusedError for a
    directory that is another's (not-empty), an older copy (tuf-older) or none where one was
    published (tuf-missing), IncompleteError (no-key) if a key that has to sign is not here,
    and VerificationError for what the directory holds and no key of its own vouches for.
    """
    session.clock.require_known()
    with session.writing() as store:
        private = require_private_log(store, wanted.log)
        memory = _Memory(store, private)
        if wanted.start_over:
            memory.forget()
        files = None if wanted.client_config is None else _files(private, wanted.client_config)
        published = read_published(directory)
        memory.compare(directory, published)
        if published is not None and wanted.start_over:
            raise RefusedError(
                f"{directory} has a repository already",
                reason="not-empty",
                next_step="to begin anew, name an empty directory",
            )
        if published is None and files is None:
            raise ArgumentError(
                f"{directory} has no repository yet, and nothing says what to put into it",
                next_step="give the directory that log client-config wrote: --client-config DIR",
            )
        step = _Step(session, store, private, published, wanted, memory)
        documents = step.documents(files)
        if documents:
            memory.announce({role: one[0] for role, one in step.made.items()})
            _write(directory, documents)
            published = read_published(directory)
            if published is None:
                raise LookupError("what was just published is not there")
            with store.atomic():
                memory.published(published)
                if {"root", "targets"} & step.made.keys():
                    details = {"log": private.name, "directory": str(directory)}
                    append_event(store, session.now(), "tuf.published", details)
        if published is None:
            raise LookupError("nothing was published, and nothing is there")
        warnings = _warnings(published, session.now())
    return Outcome(published, tuple(sorted(step.made)), tuple(step.new_keys), warnings)


def read_published(directory: Path) -> Published | None:
    """Read and verify what is in a directory; None if no repository was finished there.

    Raises RefusedError (not-empty) for a directory with other things in it.
    """
    names = set(names_in(directory, MAX_NAMES))
    if "1.root.json" not in names:  # it is written last
        others = sorted(name for name in names if not _OURS.fullmatch(name))
        if others:
            raise RefusedError(
                f"{directory} has other things in it: {', '.join(others[:3])}",
                reason="not-empty",
                next_step="name a directory that is empty, or not there yet",
            )
        return None
    roots: list[bytes] = []
    while (name := f"{len(roots) + 1}.root.json") in names:
        roots.append(read_foreign(directory / name, MAX_METADATA_BYTES))
    with naming(directory), _our_errors():
        timestamp = read_foreign(directory / "timestamp.json", MAX_METADATA_BYTES)
        listed = Metadata[Timestamp].from_bytes(timestamp).signed.snapshot_meta
        snapshot = read_foreign(directory / f"{listed.version}.snapshot.json", MAX_METADATA_BYTES)
        listed.verify_length_and_hashes(snapshot)
        listed = Metadata[Snapshot].from_bytes(snapshot).signed.meta["targets.json"]
        targets = read_foreign(directory / f"{listed.version}.targets.json", MAX_METADATA_BYTES)
        listed.verify_length_and_hashes(targets)
        raw = dict(zip(_BELOW_ROOT, (timestamp, snapshot, targets), strict=True))
        verified, others_verified = verify_chain(tuple(roots), raw)
        files = {}
        for path, target in Metadata[Targets].from_bytes(targets).signed.targets.items():
            name = f"{target.hashes['sha256']}.{path}"
            files[path] = read_foreign(directory / "targets" / name, MAX_FILE_BYTES)
            target.verify_length_and_hashes(files[path])
    return Published(verified, *others_verified, files)


class _Step:
    """What one run makes, from what is published to what is wanted."""

    def __init__(
        self,
        session: Session,
        store: Store,
        private: PrivateLog,
        published: Published | None,
        wanted: Wanted,
        memory: _Memory,
    ) -> None:
        self._session, self._store, self._private = session, store, private
        self._published, self._wanted, self._memory = published, wanted, memory
        self._now = session.now()
        self.made: dict[str, tuple[int, bytes]] = {}  # by role: version and bytes
        self.new_keys: list[str] = []
        self._old: dict[str, SigningKey] = {}
        self._new: dict[str, SigningKey] = {}

    def documents(self, files: Mapping[str, bytes] | None) -> list[tuple[str, bytes]]:
        """Make what has to be published, in the order in which it has to appear.

        A key that has to sign and is not here is noticed before anything is made.
        """
        old, wanted = self._published, self._wanted
        replaced = tuple(dict.fromkeys(KEY_OF.values())) if old is None else wanted.rotate
        root = bool(replaced) or (not wanted.refresh and self._due("root"))
        content = {} if old is None else old.files
        content = content if files is None else files
        targets = (
            OFFLINE in replaced
            or (old is not None and content != old.files)
            or (not wanted.refresh and self._due("targets"))
        )
        late = self._due("timestamp")
        snapshot = targets or bool(replaced) or self._due("snapshot") or (late and self._hollow())
        timestamp = snapshot or late
        needed = {
            role
            for role, make in (
                *(("root", root), ("targets", targets)),
                *(("snapshot", snapshot), ("timestamp", timestamp)),
            )
            if make
        }
        # A root lists the keys of all roles.
        self._load_keys({KEY_OF[role] for role in (KEY_OF if root else needed)}, replaced)
        documents: list[tuple[str, bytes]] = []
        if targets:
            raw = self._make("targets", make_targets, content)
            documents += [(target_name(name, one), one) for name, one in content.items()]
            documents.append((f"{self.made['targets'][0]}.targets.json", raw))
        if snapshot:
            raw = self._make("snapshot", make_snapshot, *self._newest("targets"))
            documents.append((f"{self.made['snapshot'][0]}.snapshot.json", raw))
        if timestamp:
            raw = self._make("timestamp", make_timestamp, *self._newest("snapshot"))
            documents.append(("timestamp.json", raw))
        if root:
            raw = self._make_root()
            documents.append((f"{self.made['root'][0]}.root.json", raw))
        return documents

    def _due(self, role: str) -> bool:
        return self._published is not None and is_due(
            role, self._published.of(role).expires_at, self._now, self._life(role)
        )

    def _hollow(self) -> bool:
        """Whether a new timestamp would promise more than the snapshot holds."""
        end = self._now + self._life("timestamp") * DAY_SECONDS
        return self._published is not None and self._published.snapshot.expires_at < end

    def _life(self, role: str) -> int:
        days = self._wanted.timestamp_days
        return {"timestamp": days, "snapshot": max(days, LIFE_DAYS[role])}.get(
            role, LIFE_DAYS[role]
        )

    def _load_keys(self, groups: set[str], replaced: tuple[str, ...]) -> None:
        old = None if self._published is None else self._published.root
        for group in sorted(groups):
            role = next(one for one, key in KEY_OF.items() if key == group)
            if old is not None:
                try:
                    self._old[group] = self._find(group, old.roles[role].keyids)
                except IncompleteError:
                    # A lost online key is replaced by the word of the offline one alone.
                    if group == OFFLINE or group not in replaced:
                        raise
            if group in replaced:
                self._new[group] = self._make_key(group)

    def _find(self, group: str, key_ids: list[str]) -> SigningKey:
        """Return the key of this home that a root lists."""
        for name in self._names(group):
            key = load_signing_key(self._store.home, name, self._store.passphrases)
            if public_key(key).keyid in key_ids:
                return key
        raise IncompleteError(
            f"the {group} key that has to sign is not in {self._store.home / 'keys'}: none of"
            f" {self._prefix(group)}* has the id {', '.join(one[:16] for one in key_ids)}",
            reason="no-key",
            next_step="put it back from where it is kept; with --refresh the online key is enough",
        )

    def _make_key(self, group: str) -> SigningKey:
        """Make a key; one that a run made which died before its root appeared is taken."""
        role = next(one for one, key in KEY_OF.items() if key == group)
        roots = () if self._published is None else self._published.roots
        listed = {
            key_id
            for root in roots
            for key_id in Metadata[Root].from_bytes(root.raw).signed.roles[role].keyids
        }
        names = self._names(group)
        for name in () if self._wanted.start_over else names:
            key = load_signing_key(self._store.home, name, self._store.passphrases)
            if public_key(key).keyid not in listed:
                self.new_keys.append(name)
                return key
        numbers = [0] + [int(name.removeprefix(self._prefix(group))) for name in names]
        name = f"{self._prefix(group)}{max(*numbers, len(listed)) + 1}"
        generate_key(self._store, name, TUF, self._now, self._session.random_bytes)
        self.new_keys.append(name)
        return load_signing_key(self._store.home, name, self._store.passphrases)

    def _names(self, group: str) -> list[str]:
        prefix = self._prefix(group)
        own = [name for name in key_names(self._store.home) if name.startswith(prefix)]
        return [name for name in own if name.removeprefix(prefix).isdecimal()]

    def _prefix(self, group: str) -> str:
        return f"{self._private.name}.tuf-{group}-"

    def _make_root(self) -> bytes:
        keys = self._old | self._new
        version = self._next("root")
        root = make_root(version, self._now + LIFE_DAYS["root"] * DAY_SECONDS, keys)
        raw = signed(root, self._signers("root"))
        self.made["root"] = (version, raw)
        return raw

    def _make(self, role: str, make: Any, *content: Any) -> bytes:
        version = self._next(role)
        expires = self._now + self._life(role) * DAY_SECONDS
        raw = signed(make(version, expires, *content), self._signers(role))
        self.made[role] = (version, raw)
        return raw

    def _signers(self, role: str) -> list[SigningKey]:
        """Return who signs: the key that readers know, and the one the next root names."""
        group = KEY_OF[role]
        return [keys[group] for keys in (self._old, self._new) if group in keys]

    def _next(self, role: str) -> int:
        if role == "root":
            return 1 if self._published is None else self._published.version("root") + 1
        there = 0 if self._published is None else self._published.version(role)
        return max(there, self._memory.announced(role)) + 1

    def _newest(self, role: str) -> tuple[int, bytes]:
        if role in self.made:
            return self.made[role]
        if self._published is None:
            raise LookupError(f"a first {role} has to be made")
        one = self._published.of(role)
        return one.version, one.raw


class _Memory:
    """What this home remembers of the versions it published."""

    def __init__(self, store: Store, private: PrivateLog) -> None:
        self._store, self._fact = store, f"site.tuf.{private.name}"
        self._known: dict[str, dict[str, int]] = json.loads(site_fact(store, self._fact) or "{}")

    def announced(self, role: str) -> int:
        """Return the highest version of a role that may have been published; 0 if none was."""
        return self._known.get("announced", {}).get(role, 0)

    def forget(self) -> None:
        """Begin anew."""
        self._known = {}

    def compare(self, directory: Path, published: Published | None) -> None:
        """Raise RefusedError for a directory that is behind what was published."""
        known = self._known.get("published", {})
        if published is None and known:
            raise RefusedError(
                f"{directory} has no repository, and this home published one for its log, up to"
                f" root version {known['root']}",
                reason="tuf-missing",
                next_step="name its directory; or put a copy of it there, any web server's will"
                " do; or, if it is lost, and every client is to be told anew, --start-over",
            )
        for role, version in known.items():
            if published is not None and published.version(role) < version:
                raise RefusedError(
                    f"{directory} is an older copy: {role} is version"
                    f" {published.version(role)}, and version {version} was published",
                    reason="tuf-older",
                    next_step="put the newest copy there: clients that saw it take no older copy",
                )

    def announce(self, versions: Mapping[str, int]) -> None:
        """Record versions before they appear: if we die here, they are not used again."""
        announced = self._known.get("announced", {}) | dict(versions)
        self._known = self._known | {"announced": announced}
        with self._store.atomic():
            self._put()

    def published(self, published: Published) -> None:
        """Record what has appeared. Call it inside store.atomic()."""
        versions = {role: published.version(role) for role in KEY_OF}
        self._known = self._known | {"published": versions}
        self._put()

    def _put(self) -> None:
        put_site_fact(self._store, self._fact, json.dumps(self._known, sort_keys=True))


def _files(private: PrivateLog, directory: Path) -> dict[str, bytes]:
    """Read what clients are told, and see that they are told of this log."""
    files = {}
    for name in (TRUSTED_ROOT, SIGNING_CONFIG):
        files[name] = read_foreign(directory / name, MAX_FILE_BYTES)
    with naming(directory / TRUSTED_ROOT):
        root = parse_trusted_root(files[TRUSTED_ROOT])
    with naming(directory / SIGNING_CONFIG):
        parse_signing_config(files[SIGNING_CONFIG])
    if private.log.keys[0].log_id not in {log.log_id for log in root.logs}:
        raise RefusedError(
            f"{directory / TRUSTED_ROOT} does not name the log {private.log.origin} by its key",
            reason="other-log",
            next_step=f"make it again: attestor log client-config --log {private.name}",
        )
    return files


def _write(directory: Path, documents: list[tuple[str, bytes]]) -> None:
    """Write files in the order in which they may be seen, each whole and durable."""
    create_directory(directory, 0o777)  # less what the umask takes: a web server reads it
    create_directory(directory / "targets", 0o777)
    for name, raw in documents:
        # If we die here, readers go by the timestamp, or the root, that was there before.
        with written_whole(directory / name, replace=True) as file:
            file.write(raw)


def _warnings(published: Published, now: int) -> tuple[str, ...]:
    return tuple(
        f"{role} runs out at {utc(published.of(role).expires_at)}: run this without --refresh where"
        " the offline key is"
        for role in ("root", "targets")
        if published.of(role).expires_at - now < WARN_DAYS * DAY_SECONDS
    )


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except exceptions.LengthOrHashMismatchError as error:
        raise DigestError(
            str(error), reason="tuf-digest", next_step="put the newest whole copy there"
        ) from error
    except (DeserializationError, KeyError) as error:
        raise MalformedError(
            f"not TUF metadata: {error.__cause__ or error}"[:500], reason="tuf-malformed"
        ) from error
