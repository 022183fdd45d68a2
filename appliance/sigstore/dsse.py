"""DSSE envelopes and the in-toto statements inside (secure-systems-lab/dsse, in-toto v1, v0.1).

The signature is over the pre-authentication encoding of type and payload. The statement
names its subjects by digest; which of them the artifact is, match_subject decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from appliance.errors import DigestError, IncompleteError, MalformedError, RefusedError
from appliance.rekor.protojson import Message, top_message
from appliance.rekor.signing_algorithms import DIGEST_BYTES
from appliance.tlog.strict_json import parse_members
from appliance.value import frozen

IN_TOTO_TYPE: Final = "application/vnd.in-toto+json"
MAX_SUBJECTS: Final = 1024
MAX_STATEMENT_BYTES: Final = 24 * 1024 * 1024  # attestations of 16 MiB are normal (SBOMs)
MAX_VALUES: Final = 4_000_000  # commas and braces, also those inside texts
_MEMBERS: Final = ("_type", "subject", "predicateType")
_STATEMENT_TYPES: Final = (
    "https://in-toto.io/Statement/v1",
    "https://in-toto.io/Statement/v0.1",
)


@frozen
class DsseEnvelope:
    """An envelope with its one signature, not yet verified."""

    payload_type: str
    payload: bytes
    signature: bytes
    key_id: str  # unauthenticated; often empty

    @property
    def encoded(self) -> bytes:
        """The pre-authentication encoding, which is what gets signed."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(self.payload), self.payload)


@frozen
class Subject:
    """One thing a statement is about."""

    name: str
    digests: Mapping[str, str]  # sha256, sha384, sha512 only; hex as written


@frozen
class Statement:
    """An in-toto statement. What it says about its subjects is not judged here."""

    predicate_type: str
    subjects: tuple[Subject, ...]


def read_envelope(envelope: Message) -> DsseEnvelope:
    """Read a bundle's DSSE envelope.

    Raises MalformedError; reason signature-count unless it has exactly one signature.
    """
    signatures = envelope.messages("signatures", MAX_SUBJECTS)
    if len(signatures) != 1:
        raise MalformedError(
            f"{envelope.path}.signatures: expected exactly one, got {len(signatures)}",
            reason="signature-count",
        )
    return DsseEnvelope(
        payload_type=envelope.required_text("payloadType"),
        payload=envelope.required_binary("payload"),
        signature=signatures[0].required_binary("sig"),
        key_id=signatures[0].text("keyid"),
    )


@lru_cache(maxsize=1)  # asked which digests it needs, and then whether they are right
def parse_statement(envelope: DsseEnvelope) -> Statement:
    """Parse the statement in an envelope; its predicate is checked as JSON, and let go.

    Raises RefusedError: reason payload-type or statement-type if it is another kind of
    payload; MalformedError; LimitError above 24 MiB, 1024 subjects or millions of values.
    """
    if envelope.payload_type != IN_TOTO_TYPE:
        raise RefusedError(
            f"DSSE payload: expected {IN_TOTO_TYPE}, got {envelope.payload_type[:120]!r}",
            reason="payload-type",
        )
    members = parse_members(
        envelope.payload,
        "in-toto statement",
        _MEMBERS,
        max_bytes=MAX_STATEMENT_BYTES,
        max_values=MAX_VALUES,
    )
    statement = top_message(members, "statement")
    if statement.text("_type") not in _STATEMENT_TYPES:
        raise RefusedError(
            f"statement._type: expected {' or '.join(_STATEMENT_TYPES)}, "
            f"got {statement.text('_type')[:120]!r}",
            reason="statement-type",
        )
    subjects = tuple(map(_read_subject, statement.messages("subject", MAX_SUBJECTS)))
    if not subjects:
        raise MalformedError("statement.subject: missing")
    return Statement(statement.text("predicateType"), subjects)


def _read_subject(subject: Message) -> Subject:
    digest = subject.message("digest")
    if digest is None:  # of something else than bytes: the artifact is none of it
        return Subject(subject.text("name"), {})
    digests = {name: digest.text(name) for name in DIGEST_BYTES if digest.get(name) is not None}
    return Subject(subject.text("name"), digests)


def _is_hex_of(text: str, value: bytes) -> bool:
    """Whether `text` is these bytes in hex, of either case."""
    return text.isascii() and text.lower() == value.hex()


def match_subject(statement: Statement, ours: Mapping[str, bytes]) -> Subject:
    """Return the first subject the artifact is.

    It is one if at least one SHA-2 digest is equal and none differs. Raises DigestError
    (reason subject-mismatch) if there is none, IncompleteError (reason digest-algorithm)
    if that cannot be told from the digests we hold, RefusedError (the same reason) if no
    subject has a SHA-2 digest.
    """
    lacking: set[str] = set()
    for subject in statement.subjects:
        common = [name for name in subject.digests if name in ours]
        if common and all(_is_hex_of(subject.digests[name], ours[name]) for name in common):
            return subject
        if not common:
            lacking.update(subject.digests)
    held = ", ".join(f"{name}:{value.hex()}" for name, value in ours.items())
    if lacking:
        raise IncompleteError(
            f"the statement names its subjects by {', '.join(sorted(lacking))}; we hold {held}",
            reason="digest-algorithm",
            next_step="give the file itself instead of a digest",
        )
    if not any(subject.digests for subject in statement.subjects):
        raise RefusedError(
            f"none of the statement's {len(statement.subjects)} subjects has a digest that is"
            f" compared here: {', '.join(DIGEST_BYTES)}",
            reason="digest-algorithm",
            next_step="ask its signer for a statement with SHA-256 digests",
        )
    raise DigestError(
        f"none of the statement's {len(statement.subjects)} subjects is {held}",
        reason="subject-mismatch",
    )
