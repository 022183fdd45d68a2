"""What a file is that somebody was sent: its kind, and what it claims. Nothing is verified.

Every parser here is the one that verifying uses; a file that it refuses is described by why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from appliance.errors import ApplianceError, MalformedError, RefusedError
from appliance.rekor.protojson import top_message
from appliance.rekor.transparency_log_entry import TransparencyLogEntry
from appliance.rekor.x509_certificate import load_certificate, pem_certificate_der
from appliance.sigstore.attestation_files import read_attestation_file
from appliance.sigstore.dsse import DsseEnvelope, Statement, parse_statement, read_envelope
from appliance.sigstore.identity import read_names
from appliance.sigstore.monitor_config import parse_monitor_config
from appliance.sigstore.signing_config import parse_signing_config
from appliance.sigstore.sigstore_bundle import SigstoreBundle
from appliance.sigstore.time_stamp_token import parse_response
from appliance.sigstore.trusted_root import LogKey, TrustedRoot, parse_trusted_roots
from appliance.sigstore.validity import format_time
from appliance.tlog.checkpoint import parse_checkpoint
from appliance.tlog.note import Note, parse_note
from appliance.tlog.note_keys import load_public_key_file, load_spki, parse_vkey
from appliance.tlog.strict_json import json_lines, parse_json
from appliance.tlog.tlog_proof import parse_tlog_proof
from appliance.value import frozen

MAX_SHOWN: Final = 8  # subjects, attestations, names of one kind
_PROOF: Final = b"c2sp.org/tlog-proof@"


@frozen
class FileClaims:
    """What a file is, and what it says of itself."""

    kind: str  # in words
    claims: tuple[tuple[str, Any], ...]  # name and JSON-able value, in the order to be read


def describe_file(raw: bytes) -> FileClaims:
    """Say what `raw` is.

    Raises MalformedError (unknown-file) if it is of no kind that is known here, and what the
    parser of its kind raises: RefusedError for a version or an encoding that is not supported.
    """
    for looks_like, describe in _KINDS:
        if looks_like(raw):
            return describe(raw)
    raise MalformedError(
        f"not a transfer bundle, nor a file of another kind that is known here: it begins with"
        f" {raw[:24]!r}",
        reason="unknown-file",
        next_step="look whether it is the right file",
    )


def _describe_json(raw: bytes) -> FileClaims:
    lines = json_lines(raw)
    value = parse_json(lines[0] if lines else raw, "file", len(raw))
    names = value if isinstance(value, dict) else {}
    media_type = str(names.get("mediaType", names.get("media_type", "")))
    if "trustedroot" in media_type:
        return _describe_roots(parse_trusted_roots(raw))
    if "signingconfig" in media_type:
        services = parse_signing_config(raw)
        urls = [
            f"{service.url} (Rekor v{service.api_version}, {service.valid})" for service in services
        ]
        return FileClaims("a Sigstore signing config", (("log", urls),))
    if {"rekorLogs", "rekor_logs", "ctLogs", "ct_logs"} & names.keys():
        logs = [
            f"{one.origin} (Rekor v{one.api_version}) is read at {one.url}"
            for one in parse_monitor_config(raw)
        ]
        return FileClaims("a Sigstore monitor config", (("log", logs),))
    if "_type" in names and "subject" in names:
        envelope = DsseEnvelope("application/vnd.in-toto+json", raw, b"", "")
        return FileClaims("an in-toto statement, unsigned", tuple(_statement(envelope)))
    if "payloadType" in names and "signatures" in names:
        envelope = read_envelope(top_message(value, "envelope", lenient=True))
        return FileClaims("a DSSE envelope, without its log entry", tuple(_statement(envelope)))
    if "signed" in names and "signatures" in names and isinstance(names["signed"], dict):
        signed = names["signed"]
        claims = [(name, str(signed.get(name))[:80]) for name in ("_type", "version", "expires")]
        return FileClaims("TUF metadata", tuple(claims))
    return _describe_attestations(raw)


def _describe_attestations(raw: bytes) -> FileClaims:
    file = read_attestation_file(raw)
    count = len(file.bundles) + len(file.unread)
    unread = tuple(("unread", one.message) for one in file.unread[:MAX_SHOWN])
    if count == 1:
        (bundle,) = file.bundles
        return FileClaims(f"a Sigstore bundle {bundle.version}", tuple(_bundle(bundle)))
    shown = tuple(
        ("bundle", dict(_bundle(one)) | {"version": one.version})
        for one in file.bundles[:MAX_SHOWN]
    )
    return FileClaims(f"{count} attestations in one file", (*shown, *unread))


def _bundle(bundle: SigstoreBundle) -> Iterator[tuple[str, Any]]:
    if bundle.certificate is None:
        yield "key", f"managed, hint {bundle.key_hint[:80]!r}"
    else:
        yield from _certificate(bundle.certificate)
    content = bundle.content
    if isinstance(content, DsseEnvelope):
        yield from _statement(content)
    elif content.digest is not None:
        yield "digest", str(content.digest)
    for entry in bundle.log_entries:
        yield "entry", _entry(entry)
    for stamp in bundle.stamps:
        _, token = parse_response(stamp)
        yield "stamp", format_time(token.time) if token else "not granted"


def _certificate(der: bytes) -> Iterator[tuple[str, Any]]:
    try:
        certificate = load_certificate(der, "certificate")
        names = read_names(certificate)
    except MalformedError as error:
        yield "certificate", error.message
        return
    yield "signer", " and ".join(names.identities[:MAX_SHOWN]) or "nobody"
    yield "issuer", " and ".join(dict.fromkeys(names.issuers)) or "none"
    yield "certificate", f"SHA-256 {sha256(der).hexdigest()}"


def _statement(envelope: DsseEnvelope) -> Iterator[tuple[str, Any]]:
    try:
        statement: Statement = parse_statement(envelope)
    except ApplianceError as error:
        yield "payload", error.message
        return
    yield "predicate", statement.predicate_type
    for subject in statement.subjects[:MAX_SHOWN]:
        digests = ", ".join(f"{name}:{text}" for name, text in subject.digests.items())
        yield "subject", f"{subject.name[:200]} {digests}"
    if len(statement.subjects) > MAX_SHOWN:
        yield "subject", f"and {len(statement.subjects) - MAX_SHOWN} more"


def _entry(entry: TransparencyLogEntry) -> str:
    text = f"{entry.kind} {entry.version}, index {entry.log_index} of {entry.log_id.hex()[:16]}…"
    if entry.integrated_time:
        time = datetime.fromtimestamp(min(entry.integrated_time, 253402300799), UTC)
        text += f", logged {format_time(time)}"
    proof = entry.inclusion_proof
    return f"{text}, tree of {proof.tree_size}" if proof else f"{text}, a promise only"


def _describe_roots(roots: tuple[TrustedRoot, ...]) -> FileClaims:
    claims: list[tuple[str, Any]] = []
    for root in roots:
        claims.append(("digest", f"SHA-256 {root.digest}"))
        claims += [("log", _log(log)) for log in root.logs]
        claims += [("ctLog", _log(log)) for log in root.ct_logs]
        for name, authorities in (
            ("certificates", root.certificate_authorities),
            ("timestamps", root.timestamp_authorities),
        ):
            claims += [(name, f"{authority}, {authority.valid}") for authority in authorities]
    kind = "a Sigstore trusted root" if len(roots) == 1 else f"{len(roots)} Sigstore trusted roots"
    return FileClaims(kind, tuple(claims))


def _log(log: LogKey) -> str:
    return f"{log}, {log.valid}"


def _describe_proof(raw: bytes) -> FileClaims:
    proof = parse_tlog_proof(raw)
    claims = _note_claims(parse_note(proof.note))
    return FileClaims("a tlog-proof", (("index", proof.entry_index), *claims))


def _describe_note(raw: bytes) -> FileClaims:
    note = parse_note(raw)
    try:
        return FileClaims("a checkpoint", tuple(_note_claims(note)))
    except MalformedError:
        return FileClaims("a signed note", (("text", note.text[:200]), *_signers(note)))


def _note_claims(note: Note) -> Iterator[tuple[str, Any]]:
    checkpoint = parse_checkpoint(note.text)
    yield "origin", checkpoint.origin
    yield "size", checkpoint.head.tree_size
    yield "root", checkpoint.head.root_hash.hex()
    yield from _signers(note)


def _signers(note: Note) -> Iterator[tuple[str, Any]]:
    for signature in note.signatures[:MAX_SHOWN]:
        yield "signature", f"{signature.name} {signature.key_id.hex()}"


def _describe_pem(raw: bytes) -> FileClaims:
    label = raw.lstrip()[len(b"-----BEGIN ") :].split(b"-----")[0][:40].decode("ascii", "replace")
    if "PRIVATE" in label:
        raise RefusedError(
            f"a private key ({label}): nothing here wants to see one", reason="private-key"
        )
    if label == "CERTIFICATE":
        der = pem_certificate_der(raw, "PEM")
        return FileClaims("a certificate", tuple(_certificate(der)))
    return _key_claims(load_public_key_file(raw))


def _describe_der(raw: bytes) -> FileClaims:
    for read in (_read_stamp, _read_certificate, _read_key):
        try:
            return read(raw)
        except MalformedError:
            continue
    raise MalformedError("DER, but no key, certificate or RFC 3161 response", reason="unknown-file")


def _read_stamp(raw: bytes) -> FileClaims:
    status, token = parse_response(raw)
    time = format_time(token.time) if token else "none"
    return FileClaims("an RFC 3161 timestamp", (("status", status), ("time", time)))


def _read_certificate(raw: bytes) -> FileClaims:
    load_certificate(raw, "certificate")
    return FileClaims("a certificate", tuple(_certificate(raw)))


def _read_key(raw: bytes) -> FileClaims:
    return _key_claims(load_public_key_file(raw))


def _key_claims(spki: bytes) -> FileClaims:
    name = type(load_spki(spki)).__name__.removesuffix("PublicKey")
    return FileClaims("a public key", (("type", name), ("digest", sha256(spki).hexdigest())))


def _describe_vkey(raw: bytes) -> FileClaims:
    key = parse_vkey(raw.decode("utf-8", "replace").rstrip("\r\n"))
    claims = (("name", key.name), ("id", key.key_id.hex()), ("type", key.key_type.name))
    return FileClaims("a verifier key", claims)


def _starts(*beginnings: bytes) -> Callable[[bytes], bool]:
    return lambda raw: raw.lstrip(b" \t\r\n").startswith(beginnings)


def _is_vkey(raw: bytes) -> bool:
    return raw.count(b"+") >= 2 and raw.strip().count(b"\n") == 0 and len(raw) < 4096


# The first that fits; beginnings of other encodings go to the JSON parser, which names them.
_KINDS: Final[tuple[tuple[Callable[[bytes], bool], Callable[[bytes], FileClaims]], ...]] = (
    (_starts(b"{", b"[", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"), _describe_json),
    (_starts(_PROOF), _describe_proof),
    (_starts(b"-----BEGIN "), _describe_pem),
    (lambda raw: b"\n\n\xe2\x80\x94 " in raw, _describe_note),
    (lambda raw: raw[:1] == b"\x30", _describe_der),
    (_is_vkey, _describe_vkey),
)
