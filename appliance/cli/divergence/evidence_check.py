"""Check an evidence pack: python3 -I check.py [DIRECTORY] [KEY.pem ...]

0: these two signed notes cannot both be true. 1: the pack was doctored, or shows no such thing.
2: it proves no more than that both were signed. With KEY.pem only those keys count; without,
compare the fingerprints printed here with keys that came another way. Proofs: RFC 9162, 2.1.4.2.
"""

import os
import sys

if __name__ == "__main__" and not sys.flags.isolated:  # what lies beside it is never imported
    os.execv(sys.executable, [sys.executable, "-I", *sys.argv])  # noqa: S606

import base64
import hashlib
import json
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding


def _need(is_so: object, what: str) -> None:
    if not is_so:
        raise ValueError(what)


def _say(text: str) -> int:
    return sys.stdout.write("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text) + "\n")


def _hash(text: str) -> bytes:
    raw = bytes.fromhex(text)
    _need(len(raw) == 32 and raw.hex() == text, f"not 64 hex digits: {text[:80]!a}")
    return raw


def _read(path: Path) -> bytes:
    _need(path.is_file() and path.stat().st_size < 1 << 24, f"{path.name}: no file of this size")
    return path.read_bytes()


def _signed(key: dict[str, str], text: bytes, signature: bytes) -> bool:
    public = serialization.load_der_public_key(base64.b64decode(key["publicKey"]))
    digest = getattr(hashes, (key["hash"] or "sha256").upper())()
    ways = {"Ed2": [], "ECP": [ec.ECDSA(digest)], "RSA": [padding.PKCS1v15(), digest]}
    try:
        public.verify(signature, text, *ways[type(public).__name__[:3]])  # type: ignore
    except InvalidSignature:
        return False
    return True


def _opened(path: Path, keys: list[dict[str, str]]) -> tuple[str, int, str, list[str]]:
    text, _, signatures = _read(path).partition(b"\n\n")
    by = []
    for line in signatures.decode().strip("\n").split("\n"):
        name, _, blob = line.removeprefix("\N{EM DASH} ").partition(" ")
        raw = base64.b64decode(blob, validate=True)
        known = [key for key in keys if (key["name"], key["keyId"]) == (name, raw[:4].hex())]
        by += [key for key in known if _signed(key, text + b"\n", raw[4:])]
    _need(by, f"{path.name}: none of the keys signed it")
    origin, size, root, *more = text.decode().split("\n")
    digest = hashlib.sha256(base64.b64decode(by[0]["publicKey"])).hexdigest()
    _need(size.isascii() and size.isdigit() and str(int(size[:19])) == size, "a size is no number")
    raw = _hash(base64.b64decode(root, validate=True).hex())
    _need(base64.b64encode(raw).decode() == root, "a root is not in its one spelling")
    _say(f"{path.name}: {origin}, size {size}, by the key with SHA-256 {digest}")
    return origin, int(size), raw.hex(), more


def _roots(old: int, new: int, implied: str, proof: list[str]) -> tuple[str, str]:
    path = [_hash(one) for one in [implied] * (old & (old - 1) == 0) + proof]
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    first = second = path[0] if path else b""
    for one in path[1:]:
        _need(last, "the consistency proof is too long")
        if at & 1 or at == last:
            first, second = (hashlib.sha256(b"\1" + one + s).digest() for s in (first, second))
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            second = hashlib.sha256(b"\1" + second + one).digest()
        at, last = at >> 1, last >> 1
    _need(last == 0, "the consistency proof is too short")
    return first.hex(), second.hex()


def _check(pack: Path, trusted: list[bytes]) -> tuple[int, str]:
    facts = json.loads(_read(pack / "evidence.json").decode())
    keys = [k for k in facts["keys"] if not trusted or base64.b64decode(k["publicKey"]) in trusted]
    ours, theirs = (_opened(pack / name, keys) for name in ("ours.note", "theirs.note"))
    (old, old_root), (new, new_root) = sorted((ours[1:3], theirs[1:3]))
    _need(ours[1:3] != theirs[1:3], "both notes say the same")
    if ours[0] != theirs[0]:
        return 2, f"two logs signed; whether {theirs[0]} is to copy {ours[0]} no note says"
    if old == new:
        return 0, f"two roots were signed for size {old}"
    if ours[1] == old and any(line.startswith("Log frozen ") for line in ours[3]):
        return 0, f"it was signed as frozen at {old}, and has {new} entries"
    if not (proof := facts.get("consistencyProof")):
        return 2, f"sizes {old} and {new} were signed; nothing here proves them contrary"
    implied = proof["oldRootHash"].removeprefix("sha256:") if old else hashlib.sha256().hexdigest()
    sides = _roots(old, new, implied, proof["hashes"]) if old else (implied, new_root)
    _need(sides == (implied, new_root), "the consistency proof leads elsewhere")
    _need(implied != old_root, "the smaller tree is a prefix of the larger: no contradiction")
    return 0, f"the signed tree of {new} has root {implied} at {old}, signed there was {old_root}"


def _main(given: list[Path]) -> int:
    where = [one for one in given if one.is_dir()] or [Path(__file__).parent]
    form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    try:  # a key that cannot be read must not mean that any key will do
        _need(len(where) == 1, f"expected one DIRECTORY, got {len(where)}; a KEY.pem is a file")
        pems = [serialization.load_pem_public_key(_read(p)) for p in given if not p.is_dir()]
        code, said = _check(where[0], [key.public_bytes(*form) for key in pems])
    except Exception as error:  # noqa: BLE001 whatever stands in a pack, this is the answer
        code, said = 1, f"{type(error).__name__}: {error}"
    _say(f"{('CONTRADICTION', 'NO', 'UNPROVEN')[code]}: {said}")
    return code


if __name__ == "__main__":
    sys.exit(_main([Path(one) for one in sys.argv[1:]]))
