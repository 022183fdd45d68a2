"""A small private log and the two sides of a gap, in a directory, for drills.

Three real homes with real keys, and the jobs that the commands run. Only the way from the
log to the connected side is shorter: the log's own store instead of a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.errors import RemoteError
from appliance.jobs.home.init import CONNECTED, ISOLATED, init_home
from appliance.jobs.mirror.absorb import AbsorbReport
from appliance.jobs.mirror.backends import NewBackend, add_backend
from appliance.jobs.mirror.fill import Wanted
from appliance.jobs.mirror.mirror_source import MirrorSource
from appliance.jobs.mirror.prove import logged_entry, sigstore_bundle
from appliance.jobs.mirror.sync import sync
from appliance.jobs.private_log.create import create_log
from appliance.jobs.private_log.sequence import MAX_BATCH, sequence
from appliance.jobs.transfer.export import Selection, export
from appliance.jobs.transfer.ingest import IngestReport, Rules, ingest
from appliance.jobs.transfer.receipts import Accepted, accept_receipt
from appliance.jobs.verify.judged import Demands, Verdict
from appliance.jobs.verify.log_trust import log_trust
from appliance.jobs.verify.verify import verify_artifact
from appliance.rekor.request import HashedRekordRequest
from appliance.rekor.verifier_material import VerifierMaterial
from appliance.sigstore.attestation_files import parse_attestation_file
from appliance.sigstore.digests import ArtifactDigests
from appliance.sigstore.identity import ManagedKey
from appliance.store.database import open_store
from appliance.store.divergence.alerts import alerts
from appliance.store.home.key_files import SEED_BYTES, load_signing_key
from appliance.store.mirror.logs import require_backend
from appliance.store.mirror.mirror import Mirror
from appliance.store.private_log.memory import forget
from appliance.store.private_log.private_logs import require_private_log
from appliance.store.transfer.transfers import EXPORTER, RECEIPT, add_exporter
from appliance.tlog.merkle import TreeHead
from appliance.tlog.note import SigningKey, sign_note
from appliance.tlog.tile import EntryBundle, Tile
from appliance.value import frozen

ORIGIN: Final = "log.drill.example"
BACKEND: Final = "drill"
OUTSIDE: Final = "outside.drill.example"
INSIDE: Final = "inside.drill.example"
EVERYTHING: Final = Wanted(entries=True)

RandomBytes = Callable[[int], bytes]


@frozen
class Release:
    """An artifact that was signed and logged, as it is handed over."""

    artifact: bytes
    sigstore_bundle: bytes


class Signer:
    """The release engineer: one P-256 key."""

    def __init__(self, random_bytes: RandomBytes) -> None:
        secret = 1 + int.from_bytes(random_bytes(SEED_BYTES), "big") % 2**255
        self._key = ec.derive_private_key(secret, ec.SECP256R1())
        self.spki = self._key.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )

    def request(self, artifact: bytes) -> HashedRekordRequest:
        """Sign an artifact; return what a client would post to the log."""
        signature = self._key.sign(artifact, ec.ECDSA(hashes.SHA256()))
        verifier = VerifierMaterial(
            self.spki, is_certificate=False, key_details="PKIX_ECDSA_P256_SHA_256"
        )
        return HashedRekordRequest(sha256(artifact).digest(), signature, verifier)


class LogHome:
    """A private log in a home of its own."""

    def __init__(self, home: Path, seed: bytes, now: int) -> None:
        init_home(home, "log-host.drill.example", CONNECTED, lambda _: seed)
        self.home = home
        self.store = open_store(home, write=True)
        # Two faces of one log are played on one machine, which must not remember either.
        forget(SigningKey(ORIGIN, seed).verifier)
        self.private = create_log(self.store, BACKEND, ORIGIN, seed, now)
        self.key = load_signing_key(home, ORIGIN)
        self.mirror = Mirror(self.store, self.private.log)

    def add(self, requests: Sequence[HashedRekordRequest], now: int) -> list[bytes]:
        """Log requests; return the Sigstore bundle of each."""
        made = []
        for start in range(0, len(requests), MAX_BATCH):
            batch = requests[start : start + MAX_BATCH]
            bodies = [one.canonical_body for one in batch]
            forget(self.key.verifier)
            done = sequence(self.store, self.private, self.key, bodies, now)
            for request, placed in zip(batch, done.placed, strict=True):
                index = placed.entry_index
                proof = done.tree.prove_inclusion(index, self.mirror.read_tiles)
                entry = logged_entry(index, request.canonical_body, done.checkpoint, proof)
                made.append(sigstore_bundle(entry, request))
        return made

    def reopen(self) -> None:
        """Open the store again, after its file was replaced."""
        self.store = open_store(self.home, write=True)
        self.private = require_private_log(self.store, BACKEND)
        self.mirror = Mirror(self.store, self.private.log)


class Site:
    """One side of the gap, which has pinned the log's key."""

    def __init__(
        self, home: Path, name: str, role: str, log: LogHome, seed: bytes, now: int
    ) -> None:
        self.key = init_home(home, name, role, lambda _: seed).key
        self.store = open_store(home, write=True)
        pinned = NewBackend(
            *(BACKEND, ORIGIN, 2, f"{log.key.verifier.vkey}\n".encode()),
            *(None, None, None, None),
        )
        add_backend(self.store, pinned, now, dry_run=False)
        self.mirror = Mirror(self.store, require_backend(self.store, BACKEND).log)

    @property
    def head(self) -> TreeHead | None:
        """The accepted head."""
        accepted = self.mirror.history.accepted()
        return accepted.head if accepted else None

    def standing(self) -> str:
        """Say everything that an attack must not change, to compare before and after."""
        mirrored = self.mirror.history.mirror_checkpoint()
        tables = ("tile", "entry_bundle", "checkpoint", "checkpoint_note", "transfer")
        counts = ", ".join(f"{self._count(table)} {table}" for table in tables)
        return f"{self.head or 'nothing'} accepted, {mirrored and mirrored.head} covered, {counts}"

    def evidence(self) -> int:
        """Count the pieces of evidence that are kept."""
        return self._count("evidence")

    def alarms(self) -> str:
        """Name the kinds of alerts that last."""
        kinds = {alert.event_type for alert in alerts(self.store, lasting=True)}
        return ", ".join(sorted(kinds)) or "none"

    def transfers(self) -> int:
        """Count the transfer bundles that left or arrived whole."""
        return self._count("transfer")

    def _count(self, table: str) -> int:
        return int(self.store.rows(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 ours


class SilentLog:
    """A LogSource that cannot be reached."""

    description = "a log that does not answer"
    exchange: Mapping[str, Any] = {}

    def checkpoint(self) -> bytes:
        """Raise RemoteError (unreachable)."""
        raise RemoteError(f"{self.description}: no connection", reason="unreachable")

    def tiles(self, wanted: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Raise RemoteError (unreachable)."""
        raise RemoteError(f"{self.description}: no connection", reason="unreachable")

    def entry_bundles(self, wanted: Iterable[EntryBundle]) -> Iterator[tuple[EntryBundle, bytes]]:
        """Raise RemoteError (unreachable)."""
        raise RemoteError(f"{self.description}: no connection", reason="unreachable")


class DrillSites:
    """The log, the connected and the isolated site, and the stick between them."""

    def __init__(self, directory: Path, now: int, random_bytes: RandomBytes) -> None:
        self.directory = directory
        self.now = now  # Unix seconds; drills let days pass
        self.signer = Signer(random_bytes)
        self._seeds = (random_bytes(SEED_BYTES), random_bytes(SEED_BYTES))
        self._random_bytes = random_bytes
        self._opened = ExitStack()
        self.logged: list[HashedRekordRequest] = []  # by the honest log, in order
        self.count = 0  # of artifacts that were signed
        self.log = self.another_log("log")
        self.outside = self.another_outside("outside", self.log)
        seed = random_bytes(SEED_BYTES)
        self.inside = Site(directory / "inside", INSIDE, ISOLATED, self.log, seed, now)
        self._opened.enter_context(closing(self.inside.store))
        exporter = load_signing_key(directory / "outside", OUTSIDE).verifier
        add_exporter(self.inside.store, exporter, [EXPORTER], now)
        receiver = load_signing_key(directory / "inside", INSIDE).verifier
        add_exporter(self.outside.store, receiver, [RECEIPT], now)

    def close(self) -> None:
        """Close every store."""
        self._opened.close()

    def another_log(self, name: str) -> LogHome:
        """Make a log with the same key: the log itself, or the other face of one that lies."""
        log = LogHome(self.directory / name, self._seeds[0], self.now)
        self._opened.callback(lambda: log.store.close())
        self._opened.callback(lambda: forget(log.key.verifier))
        return log

    def another_outside(self, name: str, log: LogHome) -> Site:
        """Make a connected site with the exporter's key, which knows nothing yet."""
        site = Site(self.directory / name, OUTSIDE, CONNECTED, log, self._seeds[1], self.now)
        self._opened.enter_context(closing(site.store))
        return site

    def requests(self, count: int) -> list[HashedRekordRequest]:
        """Sign artifacts nobody has seen before."""
        start, self.count = self.count, self.count + count
        return [self.signer.request(artifact(number)) for number in range(start, self.count)]

    def grow(self, count: int) -> list[Release]:
        """Let `count` releases be signed and logged."""
        first = self.count
        requests = self.requests(count)
        made = self.log.add(requests, self.now)
        self.logged += requests
        return [Release(artifact(first + at), bundle) for at, bundle in enumerate(made)]

    def sync(
        self, log: LogHome | None = None, to: Site | None = None, *, tree_size: int | None = None
    ) -> AbsorbReport:
        """Bring a connected site up to a log, as `attestor sync` does."""
        site = to or self.outside
        backend = require_backend(site.store, BACKEND)
        source = MirrorSource((log or self.log).mirror, tree_size=tree_size)
        return sync(site.store, backend, source, EVERYTHING, self.now)

    def sync_in_vain(self) -> AbsorbReport:
        """Sync while the log gives no answer; raises RemoteError."""
        backend = require_backend(self.outside.store, BACKEND)
        return sync(self.outside.store, backend, SilentLog(), EVERYTHING, self.now)

    def export(self, name: str, since_size: int | None = None, site: Site | None = None) -> Path:
        """Write a transfer bundle to the stick, as `attestor export` does."""
        self.now += 1  # two exports are never of one second
        store = (site or self.outside).store
        key = load_signing_key(store.home, OUTSIDE)
        selection = Selection(since_size, far_side=since_size is None, entries=True)
        log = require_backend(store, BACKEND).log
        path = self.directory / name
        export(store, [log], selection, path, lambda text: sign_note(text, [key]), self.now)
        return path

    def accept(self, receipt: bytes) -> Accepted:
        """Take a receipt on the connected site, as `attestor receipt accept` does."""
        return accept_receipt(self.outside.store, receipt, self.now)

    def import_(self, path: Path) -> IngestReport:
        """Import a transfer bundle on the isolated site, as `attestor import` does."""
        key = load_signing_key(self.inside.store.home, INSIDE)
        rules = Rules(sign=lambda text: sign_note(text, [key]), site=INSIDE)
        return ingest(self.inside.store, path, rules, self.now)

    def verify(self, release: Release, *, max_age: int | None = None) -> Verdict:
        """Judge a release on the isolated site, as `attestor verify --require-mirror` does."""
        return verify_artifact(
            self.inside.store,
            parse_attestation_file(release.sigstore_bundle),
            ArtifactDigests({"sha256": sha256(release.artifact).digest()}),
            ManagedKey(self.signer.spki),
            None,
            log_trust(self.inside.store, None).pins,
            Demands(require_mirror=True, max_age=max_age, now=self.now),
        )


def artifact(number: int) -> bytes:
    """Return the artifact of a release."""
    return f"release {number}\n".encode()
