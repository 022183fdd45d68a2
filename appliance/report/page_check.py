"""The checks that a report page runs on itself in the browser, here in Python.

Both read the same data and count the same checks: signatures of notes, consistency,
inclusion, contradictions (RFC 9162 section 2.1; c2sp.org/signed-note, c2sp.org/tlog-checkpoint).
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from typing import Any, Final

from appliance.errors import ApplianceError, MalformedError, ProofError
from appliance.tlog.checkpoint import SignedCheckpoint, open_checkpoint, parse_checkpoint
from appliance.tlog.merkle import EMPTY_ROOT, Hash, TreeHead, as_hash, leaf_hash
from appliance.tlog.note import parse_note
from appliance.tlog.note_keys import VerifierKey, log_key, rekor_v1_key
from appliance.tlog.proof import root_from_inclusion, verify_consistency
from appliance.value import frozen, replaced

_V1: Final = 1
_PEM: Final = re.compile(rb"-----BEGIN [A-Z0-9 ]+-----([^-]*)-----END")
_WRONG_SHAPE: Final = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


@frozen
class PageCheck:
    """One check of a page: what it is about, and how it came out."""

    what: str
    is_good: bool | None  # None: nothing here can tell
    why: str  # what was found; of a failure, what is wrong


def page_checks(data: Mapping[str, Any]) -> tuple[PageCheck, ...]:
    """Check everything in a report's data that carries its own proof.

    What is wrong is a check that is not good. Raises MalformedError (not-a-report) for data of
    another shape, of which there is no saying what would have to be checked.
    """
    with shaped():
        return tuple(_checks(data))


@contextmanager
def shaped() -> Iterator[None]:
    """Let what fails on data of another shape than a report's be MalformedError (not-a-report)."""
    try:
        yield
    except _WRONG_SHAPE as error:
        raise MalformedError(
            f"not a report: its data is not in its form: {error!r:.200}", reason="not-a-report"
        ) from error


def _checks(data: Mapping[str, Any]) -> Iterator[PageCheck]:
    for log in _listed(data, "logs"):
        yield from _log(log)
    if "search" in data:
        yield from _search(data["search"], data["logs"])
    for number, verdict in enumerate(_listed(data, "verdicts")):
        if verdict.get("proof"):
            what = f"verdict {number + 1}: its log entry is in the log"
            yield _check(what, partial(_standalone, verdict["proof"]))
    for one in _listed(data, "contradictions"):
        what = f"evidence {one.get('evidence')}: two signed notes contradict each other"
        yield _check(what, partial(_contradiction, one))


def _listed(data: Mapping[str, Any], name: str) -> Sequence[Any]:
    found = data.get(name, ())
    if not isinstance(found, list | tuple):
        raise TypeError(f"{name} is no list")
    return found


def _log(log: Mapping[str, Any]) -> Iterator[PageCheck]:
    origin = log["origin"]
    opened: list[SignedCheckpoint] = []

    def heads() -> str:
        for head in log["heads"]:
            opened.append(_open(head["note"], _keys(log), origin))
            found = opened[-1].head
            stated = (head["treeSize"], head["rootHash"])
            if stated != (found.tree_size, found.root_hash.hex()):
                raise ProofError(f"the note is for size {found.tree_size}, not as stated")
        sizes = [one.head.tree_size for one in opened]
        if sizes != sorted(set(sizes)):
            raise ProofError("the signed heads are not in order")
        if log["treeSize"] and (not sizes or sizes[-1] != log["treeSize"]):
            raise ProofError(f"no signed head is for size {log['treeSize']}")
        return f"{len(sizes)} heads, up to size {sizes[-1] if sizes else 0}"

    signed = _check(f"{origin}: its key signed each head", heads)
    yield signed
    if not signed.is_good:
        return
    by_size = {one.head.tree_size: one.head for one in opened}
    n_gaps = max(len(opened) - 1, 0)

    def consistency() -> str | None:
        expected = list(zip(list(by_size), list(by_size)[1:], strict=False))
        proven = [(one["from"], one["to"]) for one in log["consistency"]]
        if proven != [one for one in expected if one in proven]:
            raise ProofError("the proofs are not those between the heads, in order")
        for one in log["consistency"]:
            hashes = [_hash(text) for text in one["hashes"]]
            verify_consistency(by_size[one["from"]], by_size[one["to"]], hashes)
        if len(proven) < n_gaps:
            if not log["unproven"]:
                raise ProofError("a proof between two heads is missing")
            return None
        return f"{len(proven)} proofs"

    if n_gaps:
        yield _check(f"{origin}: each head is a prefix of the next", consistency)
    for entry in log["entries"]:
        yield _check(
            f"{origin}: entry {entry['index']} is in the log",
            partial(_among, entry, by_size),
        )


def _search(search: Mapping[str, Any], logs: Sequence[Any]) -> Iterator[PageCheck]:
    """Check that what is said of each hit is in its entry; that the entry is there, `_log` does."""
    hits = _listed(search, "hits")
    if unknown := {hit["origin"] for hit in hits} - {log["origin"] for log in logs}:
        raise LookupError(f"hits of {sorted(unknown)[0]!r}, of which no log is here")
    for log in logs:
        said = [hit for hit in hits if hit["origin"] == log["origin"]]
        what = f"{log['origin']}: what is said of its {len(said)} hits is in their entries"
        if said:
            yield _check(what, partial(_said, said, log))


def _said(hits: Sequence[Mapping[str, Any]], log: Mapping[str, Any]) -> str | None:
    entries = {one["index"]: one for one in log["entries"]}
    roots = {one["treeSize"]: one["rootHash"] for one in log["heads"]}
    is_told = True
    for hit in hits:
        index = hit["index"]
        entry = entries.get(index)
        if entry is None:
            raise ProofError(f"entry {index} has no proof here")
        if (hit["treeSize"], hit["rootHash"]) != (entry["treeSize"], roots[entry["treeSize"]]):
            raise ProofError(f"entry {index} is proven in another tree than is said")
        body = b64decode(entry["body"], validate=True)
        if hit["leafHash"] != leaf_hash(body).hex():
            raise ProofError(f"the leaf hash of entry {index} is another")
        is_told &= _holds(hit, index, body)
    return f"digests, keys, certificates and names of {len(hits)}" if is_told else None


def _holds(hit: Mapping[str, Any], index: int, body: bytes) -> bool:
    """Compare what is said of an entry with its body; False if the body is no JSON in UTF-8."""
    if not hit["digests"] and not hit["signers"]:
        return True
    try:
        told = json.loads(body.decode())
    except (ValueError, RecursionError):
        return False
    if hit["kind"] != f"{told['kind']} {told['apiVersion']}":
        raise ProofError(f"entry {index} is of another kind")
    texts, materials = set[str](), dict[str, bytes]()
    for text in _texts(told):
        texts.add(text.lower())
        raw = _material(text)
        texts.add(raw.hex())
        materials[sha256(raw).hexdigest()] = raw
        if found := _PEM.search(raw):
            der = _material(found[1].decode("latin-1"))
            materials[sha256(der).hexdigest()] = der
    for digest in hit["digests"]:
        value = digest.partition(":")[2]
        if not value or value not in texts:
            raise ProofError(f"{digest} is not in entry {index}")
    for signer in hit["signers"]:
        raw = materials.get(signer["sha256"], b"")
        if not raw:
            raise ProofError(f"no signer {signer['sha256']} is in entry {index}")
        for name in (*signer["identities"], *signer["issuers"], *signer["claims"].values()):
            if not _stands_whole(name, raw):
                raise ProofError(f"{name!r} is not in that certificate of entry {index}")
    return True


def _stands_whole(name: str, der: bytes) -> bool:
    """Whether a name is the whole content of a value: its length stands before it (X.690 8.1.3)."""
    every = re.finditer(b"(?=(%b))" % _as_written(name), der)
    return any(der[: it.start()].endswith(_der_length(len(it[1]))) for it in every)


def _der_length(size: int) -> bytes:
    if size < 128:
        return bytes([size])
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([128 + len(octets)]) + octets


def _as_written(name: str) -> bytes:
    r"""Make a pattern of a name's bytes: those that are no UTF-8 stand as \xff in the name."""
    parts = (re.escape(part.encode()) for part in re.split(r"(\\x[89a-f][0-9a-f])", name))
    return b"".join(
        b"(?:%b|%b)" % (part, re.escape(bytes.fromhex(part[-2:].decode()))) if at % 2 else part
        for at, part in enumerate(parts)
    )


def _texts(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one


def _material(text: str) -> bytes:
    """Decode base64 with lines; what is none is empty."""
    try:
        return b64decode("".join(text.split()), validate=True)
    except ValueError:
        return b""


def _check(what: str, run: Callable[[], str | None]) -> PageCheck:
    try:
        found = run()
    except ApplianceError as error:
        return PageCheck(what, False, error.message)
    except _WRONG_SHAPE as error:
        return PageCheck(what, False, f"the data is not in its form: {error}")
    return PageCheck(what, None if found is None else True, found or "not proven by what is here")


def _keys(of: Mapping[str, Any]) -> tuple[VerifierKey, ...]:
    keys = []
    for one in of["keys"]:
        spki = b64decode(one["publicKey"], validate=True)
        make = rekor_v1_key if of["apiVersion"] == _V1 else log_key
        key = replaced(make(one["name"], spki), max_size=one["retiredAtSize"])
        if key.key_id.hex() != one["keyId"]:
            raise MalformedError(f"key id {one['keyId']!r} is not that of this name and key")
        stated = (one["hash"], one["fingerprint"])
        if stated != (key.prehash, sha256(spki).hexdigest()):
            raise MalformedError("a hash or fingerprint that is not the key's")
        keys.append(key)
    return tuple(keys)


def _open(note: str, keys: Sequence[VerifierKey], origin: str) -> SignedCheckpoint:
    return open_checkpoint(note.encode(), keys, origin)


def _hash(text: str) -> Hash:
    raw = bytes.fromhex(text)
    if raw.hex() != text:
        raise MalformedError(f"not 64 hex digits: {text[:80]!r}")
    return as_hash(raw)


def _included(entry: Mapping[str, Any], head: TreeHead) -> str:
    leaf = leaf_hash(b64decode(entry["body"], validate=True))
    hashes = [_hash(text) for text in entry["hashes"]]
    root = root_from_inclusion(entry["index"], head.tree_size, leaf, hashes)
    if root != head.root_hash:
        raise ProofError(f"the proof leads to another root than size {head.tree_size} has")
    return f"in the tree of {head.tree_size}"


def _among(entry: Mapping[str, Any], heads: Mapping[int, TreeHead]) -> str:
    return _included(entry, heads[entry["treeSize"]])


def _standalone(proof: Mapping[str, Any]) -> str:
    signed = _open(proof["note"], _keys(proof), proof["origin"])
    if signed.head.tree_size != proof["treeSize"]:
        raise ProofError(f"the note is for size {signed.head.tree_size}, not as stated")
    return _included(proof, signed.head)


def _contradiction(kept: Mapping[str, Any]) -> str | None:
    keys = []
    for one in kept["keys"]:
        spki = b64decode(one["publicKey"], validate=True)
        for key in (log_key(one["name"], spki), rekor_v1_key(one["name"], spki)):
            if key.key_id.hex() == one["keyId"]:
                keys.append(key)
                break
        else:
            raise MalformedError(f"key id {one['keyId']!r} is not that of this name and key")
    ours, theirs = (_any_log(kept[name], keys) for name in ("ours", "theirs"))
    if ours.checkpoint.origin != kept["origin"]:
        raise ProofError("our note is of another log")
    if ours.head == theirs.head:
        raise ProofError("both notes say the same")
    if ours.checkpoint.origin != theirs.checkpoint.origin:
        return None
    old, new = sorted((ours, theirs), key=lambda one: one.head.tree_size)
    if old.head.tree_size == new.head.tree_size:
        return f"two roots were signed for size {old.head.tree_size}"
    if ours is old and ours.checkpoint.frozen:
        return f"signed as frozen at {old.head.tree_size}, and has {new.head.tree_size} entries"
    proof = kept["consistencyProof"]
    if not proof:
        return None
    size = old.head.tree_size
    implied = EMPTY_ROOT
    if size:
        implied = _hash(proof["oldRootHash"].removeprefix("sha256:"))
        hashes = [_hash(text) for text in proof["hashes"]]
        verify_consistency(TreeHead(size, implied), new.head, hashes)
    if implied == old.head.root_hash:
        raise ProofError("the smaller tree is a prefix of the larger: no contradiction")
    return f"the signed tree of {new.head.tree_size} has another root at {size} than was signed"


def _any_log(note: str, keys: Sequence[VerifierKey]) -> SignedCheckpoint:
    origin = parse_checkpoint(parse_note(note.encode()).text).origin
    return _open(note, keys, origin)
