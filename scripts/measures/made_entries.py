"""Entries as CI logs them, by the million, and a log of them: for scripts/bench-find."""

from __future__ import annotations

import json
import random
from base64 import b64encode
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.tlog.checkpoint import Checkpoint
from appliance.tlog.growth import Edge, grow
from appliance.tlog.merkle import EMPTY_ROOT, TreeHead
from appliance.tlog.note import sign_note
from appliance.tlog.tile import edge_tiles
from tests.find.stored_log import BATCH, LOG_KEY, ORIGIN, StoredLog
from tests.pki.authorities import LeafPlan, spki
from tests.pki.bundles import Instance, hashedrekord_v2

A_RUN = 5  # entries that one CI run signs
DISTINCT = 0.178  # identities for each entry
NUMBER = "0000000"
RUN = "99999999999"
_KEY_ID = {"2.5.29.14": b"\x04\x14" + b"\x04" * 20}
_VERSION = bytes.fromhex("a003020102")  # in front of a certificate's serial number
_SCT = bytes.fromhex("060a2b06010401d679020402")  # the OID of a certificate's SCT list
COMMIT = "0123456789abcdef0123456789abcdef01234567"
SIGNATURE = b64encode(b"\x02" * 72)
REPOSITORY = f"https://git.example/org-{NUMBER}/app"
WORKFLOW = f"{REPOSITORY}/.github/workflows/release.yml@refs/heads/main"
ISSUER = "https://token.git.example"


def identity(number: int) -> str:
    """Return the identity of a run."""
    return WORKFLOW.replace(NUMBER, f"{number:07}")


class Entries:
    """Entries as CI logs them: made from one of each kind by changing what differs.

    Nobody verifies the signatures of what is searched, so they are those of the pattern.
    """

    def __init__(self, count: int) -> None:
        self.n_identities = max(int(count * DISTINCT), 1)
        ref = "refs/heads/main"
        owner = f"https://git.example/org-{NUMBER}"
        # As a CI of today fills them: 20 claims.
        claims = {
            "2": "push", "3": COMMIT, "4": "Release", "5": f"org-{NUMBER}/app", "6": ref,
            "9": WORKFLOW, "10": COMMIT, "11": "hosted", "12": REPOSITORY, "13": COMMIT,
            "14": ref, "15": "123456789", "16": owner, "17": "9876543", "18": WORKFLOW,
            "19": COMMIT, "20": "push", "21": f"{REPOSITORY}/actions/runs/{RUN}/attempts/1",
            "22": "public",
        }  # fmt: skip
        made = Instance()
        plan = LeafPlan(
            (x509.UniformResourceIdentifier(WORKFLOW),),
            issuer_v1=ISSUER,
            issuer_v2=ISSUER,
            claims=claims,
            raw_extensions=_KEY_ID,
        )
        self.ci = self._pattern(made.sign_artifact(None, plan))
        mail = LeafPlan((x509.RFC822Name(f"dev-{NUMBER}@example.com"),), raw_extensions=_KEY_ID)
        self.mail = self._pattern(made.sign_artifact(None, mail))
        self.key = self._pattern(made.sign_artifact(None, managed=True))

    def _pattern(self, signed: Any) -> tuple[bytes, bytes, bytes, bytes]:
        """Return a body in pieces: before the digest, before the signer's DER, after, and DER."""
        document = hashedrekord_v2(signed, bytes(32))
        document["spec"]["hashedRekordV002"]["signature"]["content"] = SIGNATURE.decode()
        body = json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
        der = signed.der
        before, rest = body.split(b64encode(bytes(32)), 1)
        between, after = rest.split(b64encode(der), 1)
        # The key, and what Fulcio and a CT log signed, differ from entry to entry.
        der = der.replace(spki(signed.key)[-64:], b"\x00" * 64)
        if signed.certificate is not None:
            der = der[:-56] + b"\x01" * 56
            at = der.index(_SCT) + len(_SCT)
            end = at + 2 + der[at + 1]
            der = der[: end - 64] + b"\x03" * 64 + der[end:]
            at = der.index(_VERSION) + len(_VERSION)
            der = der[: at + 4] + b"\x05" * 14 + der[at + 18 :]  # of the serial number
        return before, between, after, der

    def bodies(self, start: int, stop: int, *, on_curve: bool = False) -> Iterator[bytes]:
        """Yield entries; with keys that are points of the curve, if somebody reads them."""
        for at in range(start, stop):
            chance = random.Random(at)  # noqa: S311 repeatable
            kind = at % 100
            run = random.Random(f"run {at // A_RUN}")  # noqa: S311 repeatable
            number = b"%07d" % run.randrange(self.n_identities)
            before, between, after, der = (
                self.key if kind < 2 else self.mail if kind < 7 else self.ci
            )
            if kind >= 2:
                der = der.replace(NUMBER.encode(), number)
                der = der.replace(COMMIT.encode(), commit(at).encode())
                der = der.replace(RUN.encode(), b"%011d" % run.randrange(10**11))
            key = point(at) if on_curve else chance.randbytes(64)
            der = der.replace(b"\x00" * 64, key)
            der = der.replace(b"\x01" * 56, chance.randbytes(56))
            der = der.replace(b"\x03" * 64, chance.randbytes(64))
            der = der.replace(b"\x04" * 20, chance.randbytes(20))
            der = der.replace(b"\x05" * 14, chance.randbytes(14))
            made = before + b64encode(digest(at)) + between + b64encode(der) + after
            yield made.replace(SIGNATURE, b64encode(chance.randbytes(72)))


def digest(at: int) -> bytes:
    """Return what an entry signed."""
    return sha256(b"artifact %d" % at).digest()


def point(at: int) -> bytes:
    """Return a public key of P-256, both coordinates."""
    key = ec.derive_private_key(at + 1, ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def commit(at: int) -> str:
    """Return the commit of an entry's run."""
    return sha256(b"run %d" % (at // A_RUN)).hexdigest()[:40]


def make_log(home: Path, count: int, say: Callable[[str], None]) -> None:
    """Store a log of so many entries, as a sync leaves it."""
    entries, log = Entries(count), StoredLog(home)
    for start in range(0, count, BATCH):
        log.append(list(entries.bodies(start, min(start + BATCH, count))))
        say(f"made {log.edge.head.tree_size:,} entries")


class ServedEntries:
    """A log of such entries that is first of one size, then of another, as a file says."""

    def __init__(self, size_file: str, *sizes: int) -> None:
        self.size_file = Path(size_file)
        self.paths: dict[str, bytes] = {}
        entries = Entries(sizes[-1])
        edge = Edge(TreeHead(0, EMPTY_ROOT), {}, ())
        for size in sizes:
            bodies = list(entries.bodies(edge.head.tree_size, size))
            growth = grow(edge, bodies)
            self.paths.update((tile.path, data) for tile, data in growth.tiles.items())
            self.paths.update((one.path, data) for one, data in growth.entry_bundles.items())
            self.paths[str(size)] = sign_note(str(Checkpoint(ORIGIN, growth.head)), [LOG_KEY])
            tiles, rest = {**edge.tiles, **growth.tiles}, size % 256
            last = (*edge.entries, *bodies)[-rest:] if rest else ()
            edge = Edge(growth.head, {one: tiles[one] for one in edge_tiles(size)}, last)

    def answer(self, path: str) -> bytes | None:
        """Return what a server of it answers."""
        if path == "checkpoint":
            path = self.size_file.read_text()
        return self.paths.get(path)
