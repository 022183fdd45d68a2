"""Bytes of a mirror on the disk and on a stick, per day and per year (scripts/sizes)."""

from __future__ import annotations

import json
import random
import sys
import tempfile
from base64 import b64encode
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from appliance.jobs.home.init import init_home  # noqa: E402
from appliance.jobs.mirror.window import CHUNK_ENTRIES  # noqa: E402
from appliance.jobs.transfer.consistency_member import format_consistency  # noqa: E402
from appliance.jobs.transfer.hash_lists import format_hash_lists  # noqa: E402
from appliance.store.database import open_store  # noqa: E402
from appliance.store.mirror.checkpoints import Arrival  # noqa: E402
from appliance.store.mirror.entry_frames import compress_bundle  # noqa: E402
from appliance.store.mirror.entry_windows import EntryWindows  # noqa: E402
from appliance.store.mirror.logs import add_log  # noqa: E402
from appliance.store.mirror.mirror import Mirror  # noqa: E402
from appliance.tlog.checkpoint import open_checkpoint  # noqa: E402
from appliance.tlog.entries import format_entry_bundle  # noqa: E402
from appliance.tlog.leaf_ranges import of_consistency  # noqa: E402
from appliance.tlog.merkle import Hash, leaf_hash  # noqa: E402
from appliance.tlog.proof import build_proof, consistency_plan  # noqa: E402
from appliance.tlog.tile import EntryBundle, Tile  # noqa: E402
from tests.rig.uniform_log import UniformLog  # noqa: E402

A_SECOND = 15  # entries, as the public log grew in October 2026
DAY = 86_400
SYNC_SECONDS = 300
TILES, BUNDLES, SYNCS, WINDOW = 2000, 100, 288, 5000
V1_SIZE = 2_000_000_000
RNG = random.Random(1)  # noqa: S311 bytes that nothing depends on


def main() -> None:
    """Measure, and print a row for each kind of mirror."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory) / "home"
        init_home(home, "site.example", "connected", RNG.randbytes)
        store = open_store(home, write=True)
        log = UniformLog(1)
        with store.atomic():
            added = add_log(store, log.origin, 2, log.key.spki)
        mirror = Mirror(store, added)
        tiles = measured(home, lambda: put_tiles(mirror)) / (TILES * 256) * 257 / 256
        entries = measured(home, lambda: put_entries(mirror)) / (BUNDLES * 256)
        packed = len(compress_bundle(bundle())) / 256
        with store.atomic():
            added = add_log(store, "log.example", 2, log.key.spki)
        syncs = measured(home, lambda: follow(Mirror(store, added), log)) / SYNCS
        proof = consistency(log, V1_SIZE, V1_SIZE + A_SECOND * SYNC_SECONDS * SYNCS)
        stick = 2048 + len(format_consistency({V1_SIZE: proof}))
        window, packed_window = windows(home, Mirror(store, added))
        store.close()
    a_day = A_SECOND * DAY
    hash_stick = 32 * 257 / 256 * a_day * (8192 + 512) / 8192
    row("hash tiles, everything provable", tiles * a_day, hash_stick)
    row("hash tiles and entries", (tiles + entries) * a_day, packed * a_day)
    row("Rekor v1, checkpoints and proofs", syncs * DAY / SYNC_SECONDS, stick)
    sys.stdout.write(
        f"1,000 entries of a Rekor v1 window: {window * 1000 / 1e6:.2f} MB on the disk,"
        f" {packed_window * 1000 / 1e6:.2f} MB on the stick\n"
    )


def measured(home: Path, put: object) -> int:
    """Return how many bytes more are allocated below a home once something was put there."""
    before = allocated(home)
    put()  # type: ignore[operator]
    return allocated(home) - before


def allocated(home: Path) -> int:
    """Return the blocks of the disk that a home takes, in bytes."""
    return sum(one.stat().st_blocks * 512 for one in home.rglob("*"))


def windows(home: Path, mirror: Mirror) -> tuple[float, float]:
    """Return the bytes of an entry of a Rekor v1 log in a window: on the disk, and on a stick."""
    bodies = {V1_SIZE // 2 + at: v1_entry() for at in range(WINDOW)}
    proof = {(at << 20, (at + 1) << 20): Hash(RNG.randbytes(32)) for at in range(60)}
    leaves = {(at, at + 1): leaf_hash(body) for at, body in bodies.items()}

    def put() -> None:
        for start in range(0, WINDOW, CHUNK_ENTRIES):
            some = list(bodies)[start : start + CHUNK_ENTRIES]
            with mirror.store.atomic():
                EntryWindows(mirror.store, mirror.log).put({at: bodies[at] for at in some})
                mirror.put_ranges(proof | {(at, at + 1): leaves[at, at + 1] for at in some})

    disk = measured(home, put) / WINDOW
    some = list(bodies.values())[:256]
    proofs = format_hash_lists("entry", dict.fromkeys((0, 255), tuple(proof.values())[:31]))
    entries = b"".join(len(body).to_bytes(4) + body for body in some)
    return disk, (512 + len(compress_bundle(proofs + b"\n" + entries))) / 256


def v1_entry() -> bytes:
    """Make an entry as keyless clients log them there: the certificate is PEM in base64."""
    der = b64encode(b"the same in most certificates" * 8 + RNG.randbytes(500)).decode()
    lines = "\n".join(der[at : at + 64] for at in range(0, len(der), 64))
    pem = f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n"
    spec = {
        "data": {"hash": {"algorithm": "sha256", "value": RNG.randbytes(32).hex()}},
        "signature": {
            "content": b64encode(RNG.randbytes(71)).decode(),
            "publicKey": {"content": b64encode(pem.encode()).decode()},
        },
    }
    body = {"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": spec}
    return json.dumps(body, separators=(",", ":")).encode()


def put_tiles(mirror: Mirror) -> None:
    for start in range(0, TILES, 500):
        mirror.add({Tile(0, one): RNG.randbytes(8192) for one in range(start, start + 500)}, {})


def put_entries(mirror: Mirror) -> None:
    mirror.add({}, {EntryBundle(one, 256): bundle() for one in range(BUNDLES)})


def bundle() -> bytes:
    """Make entries as keyless clients log them: digest, signature and certificate are random."""
    return format_entry_bundle([entry() for _ in range(256)])


def entry() -> bytes:
    def text(n_bytes: int) -> str:
        return b64encode(RNG.randbytes(n_bytes)).decode()

    certificate = b64encode(b"the same in most certificates" * 8 + RNG.randbytes(500)).decode()
    verifier = {
        "keyDetails": "PKIX_ECDSA_P256_SHA_256",
        "x509Certificate": {"rawBytes": certificate},
    }
    spec = {
        "data": {"algorithm": "SHA2_256", "digest": text(32)},
        "signature": {"content": text(71), "verifier": verifier},
    }
    body = {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": spec}}
    return json.dumps(body, separators=(",", ":")).encode()


def consistency(log: UniformLog, old: int, new: int) -> tuple[bytes, ...]:
    return build_proof(consistency_plan(old, new), log._node)


def follow(mirror: Mirror, log: UniformLog) -> None:
    """Accept one checkpoint after the other, each with its proof, as syncs of a v1 log do."""
    log.tree_size = V1_SIZE
    for number in range(SYNCS):
        old = log.head
        log.tree_size += A_SECOND * SYNC_SECONDS + number  # sizes are not round
        checkpoint = open_checkpoint(log.checkpoint(), [log.key], log.origin)
        proof = consistency(log, old.tree_size, log.tree_size)
        ranges = of_consistency(old, log.head, proof)
        arrival = Arrival("direct", "https://log.example", number)
        mirror.accept(checkpoint, arrival, {}, ranges=ranges)


def row(what: str, disk: float, stick: float) -> None:
    """Print one row of the table: megabytes and gigabytes are powers of 1,000."""
    cells = (f"{disk / 1e6:,.2f} MB", f"{disk * 365 / 1e9:,.2f} GB", f"{stick / 1e6:,.3f} MB")
    sys.stdout.write(f"| {what} | {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
