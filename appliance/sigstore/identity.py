"""Who may have signed: an identity and issuer in the certificate, or a managed key.

The expectation is the operator's and is compared exactly. Regular expressions are a
different option, never guessed, and must match from end to end. Certificates carry further
claims of a CI run; each can be made a condition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from appliance.errors import ArgumentError, MalformedError, SignatureError
from appliance.patterns import pattern
from appliance.sigstore.validity import ALWAYS, Window
from appliance.value import field, frozen

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, GeneralName

_FULCIO: Final = "1.3.6.1.4.1.57264.1."
_ISSUER_V1: Final = _FULCIO + "1"  # raw bytes
_ISSUER_V2: Final = _FULCIO + "8"  # DER UTF8String
_OTHER_NAME: Final = _FULCIO + "7"
_UTF8_STRING: Final = 0x0C
# Claims by the names that Fulcio gives them: raw bytes in the first five, else DER UTF8String.
CLAIMS: Final = {
    "github-workflow-trigger": _FULCIO + "2",
    "github-workflow-sha": _FULCIO + "3",
    "github-workflow-name": _FULCIO + "4",
    "github-workflow-repository": _FULCIO + "5",
    "github-workflow-ref": _FULCIO + "6",
    "build-signer-uri": _FULCIO + "9",
    "build-signer-digest": _FULCIO + "10",
    "runner-environment": _FULCIO + "11",
    "source-repository-uri": _FULCIO + "12",
    "source-repository-digest": _FULCIO + "13",
    "source-repository-ref": _FULCIO + "14",
    "source-repository-identifier": _FULCIO + "15",
    "source-repository-owner-uri": _FULCIO + "16",
    "source-repository-owner-identifier": _FULCIO + "17",
    "build-config-uri": _FULCIO + "18",
    "build-config-digest": _FULCIO + "19",
    "build-trigger": _FULCIO + "20",
    "run-invocation-uri": _FULCIO + "21",
    "source-repository-visibility": _FULCIO + "22",
}

_RAW_CLAIMS: Final = frozenset(_FULCIO + arc for arc in "123456")
# Go's patterns have it, and Python takes it for a set of letters.
_POSIX_CLASS: Final = pattern(r"\[\^?\[:\^?[a-z]+:\]")
_OID: Final = pattern(r"[0-2](\.(0|[1-9][0-9]{0,18})){1,32}")


def is_claim_oid(text: str) -> bool:
    """Whether `text` is the number of an extension that may hold a claim."""
    return _OID.fullmatch(text) is not None


@frozen
class CertificateIdentity:
    """Whose certificate the operator expects.

    Exactly one of identity and identity_regexp, and of issuer and issuer_regexp, is given;
    anything else raises ArgumentError (reason identity), and so does an unknown claim.
    """

    identity: str = ""
    issuer: str = ""
    identity_regexp: str = ""
    issuer_regexp: str = ""
    claims: Mapping[str, str] = field(default_factory=dict)  # name in CLAIMS, or OID: exact value

    def __post_init__(self) -> None:
        _check_choice("identity", self.identity, self.identity_regexp)
        _check_choice("issuer", self.issuer, self.issuer_regexp)
        for name in self.claims:
            if name not in CLAIMS and not is_claim_oid(name):
                raise ArgumentError(
                    f"certificate claim {name!r}: expected one of {', '.join(CLAIMS)}",
                    reason="identity",
                )


@frozen
class ManagedKey:
    """The key the operator expects, with the window in which it signs, if it has one."""

    spki: bytes  # SubjectPublicKeyInfo DER
    valid: Window = ALWAYS


ExpectedSigner = CertificateIdentity | ManagedKey


@frozen
class CertificateNames:
    """What a certificate says about its holder. Verified only once its path is."""

    identities: tuple[str, ...]  # e-mail addresses, URIs and other names, as written
    issuers: tuple[str, ...]  # one, or two if it carries both issuer extensions
    claims: Mapping[str, str]  # name in CLAIMS: value
    extensions: Mapping[str, bytes]  # OID: DER, of those that X.509 itself does not know


def read_names(leaf: Certificate) -> CertificateNames:
    """Read names, issuers and claims; raises MalformedError if one is broken."""
    from cryptography import x509

    by_oid: dict[str, bytes] = {}
    identities: tuple[str, ...] = ()
    for extension in leaf.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            identities = tuple(_read_identities(extension.value))
        elif isinstance(extension.value, x509.UnrecognizedExtension):
            by_oid[extension.oid.dotted_string] = extension.value.value
    issuers = []
    if _ISSUER_V2 in by_oid:
        issuers.append(_utf8_string(by_oid[_ISSUER_V2], "issuer"))
    if _ISSUER_V1 in by_oid:
        issuers.append(_utf8(by_oid[_ISSUER_V1], "issuer"))
    claims = {name: _claim(oid, by_oid[oid], name) for name, oid in CLAIMS.items() if oid in by_oid}
    return CertificateNames(identities, tuple(issuers), claims, by_oid)


def _claim(oid: str, value: bytes, name: str) -> str:
    return _utf8(value, name) if oid in _RAW_CLAIMS else _utf8_string(value, name)


def check_identity(names: CertificateNames, expected: CertificateIdentity) -> str:
    """Return the identity that matched.

    Raises SignatureError, with what was expected and what is there: reason identity,
    issuer (every issuer extension has to match) or claim.
    """
    matched = [
        identity
        for identity in names.identities
        if _matches(identity, expected.identity, expected.identity_regexp)
    ]
    if not matched:
        raise _differs(
            f"signed by {_list(names.identities)}",
            names.identities,
            expected.identity,
            expected.identity_regexp,
            reason="identity",
            right_one="this signer",
        )
    if not names.issuers or not all(
        _matches(issuer, expected.issuer, expected.issuer_regexp) for issuer in names.issuers
    ):
        raise _differs(
            f"signer's identity comes from {_list(dict.fromkeys(names.issuers))}",
            names.issuers,
            expected.issuer,
            expected.issuer_regexp,
            reason="issuer",
            right_one="this issuer",
        )
    for name, value in expected.claims.items():
        got = _claimed(names, name)
        if got != value:
            raise SignatureError(
                f"certificate claim {name}: expected {_quoted(value)}, "
                f"got {'none' if got is None else _quoted(got)}",
                reason="claim",
            )
    return matched[0]


def _claimed(names: CertificateNames, name: str) -> str | None:
    """Return what a certificate says of a claim, by name or number; None if it is silent."""
    if name in CLAIMS:
        return names.claims.get(name)
    der = names.extensions.get(name)
    return None if der is None else _claim(name, der, name)


def _matches(text: str, exact: str, regexp: str) -> bool:
    return text == exact if exact else re.fullmatch(regexp, text) is not None


def _differs(
    got: str, names: Iterable[str], exact: str, regexp: str, *, reason: str, right_one: str
) -> SignatureError:
    """Say whom we expected, and of a pattern that it matches a part, if that is all it does."""
    part = None if exact else next((one for one in names if _matches_a_part(one, regexp)), None)
    if part is None:
        expected, name_it = f"expected {_quoted(exact or regexp)}", "name it"
    else:
        expected = (
            f"of which the pattern {_quoted(regexp)} matches only a part; it has to match all of it"
        )
        ends_early = re.fullmatch(f"{regexp}.*", part) is not None
        name_it = "end the pattern with .*" if ends_early else "write a pattern for all of its name"
    return SignatureError(
        f"{got}, {expected}",
        reason=reason,
        next_step=f"if {right_one} is the right one, {name_it}; otherwise do not use the artifact",
    )


def _matches_a_part(text: str, regexp: str) -> bool:
    found = re.search(regexp, text)
    return found is not None and found[0] not in ("", text)


def _list(values: Iterable[str]) -> str:
    return " and ".join(map(_quoted, values)) or "nobody"


def _quoted(text: str) -> str:
    """Quote a name; one beyond ASCII also by its code points, for two may look the same."""
    text = text[:200]
    return repr(text) if text.isascii() else f"{text!r} ({ascii(text)[1:-1]})"


def _check_choice(what: str, exact: str, regexp: str) -> None:
    if bool(exact) == bool(regexp):
        raise ArgumentError(
            f"expected signer: give either {what} or {what} regexp", reason="identity"
        )
    try:
        if found := _POSIX_CLASS.search(regexp):
            raise re.error(f"{found[0]} is not a class of Python's")
        re.compile(regexp)
    except (re.error, RecursionError, OverflowError) as error:
        raise ArgumentError(
            f"expected signer: {what} regexp {regexp[:120]!r}: {error}",
            reason="identity",
            next_step="write a regular expression of Python",
        ) from error


def _read_identities(names: Iterable[GeneralName]) -> Iterable[str]:
    from cryptography import x509

    for name in names:
        if isinstance(name, x509.RFC822Name | x509.UniformResourceIdentifier):
            yield name.value
        elif isinstance(name, x509.OtherName) and name.type_id.dotted_string == _OTHER_NAME:
            yield _utf8_string(name.value, "other name")


def _utf8_string(der: bytes, what: str) -> str:
    """Decode a DER UTF8String that fills `der` exactly."""
    for header_bytes in (2, 3, 4, 5):
        content = der[header_bytes:]
        if _der_header(len(content)) + content == der:
            return _utf8(content, what)
    raise MalformedError(
        f"signer's certificate: {what}: not a DER UTF8String: {der[:40].hex()}",
        reason="bad-certificate",
    )


def _der_header(length: int) -> bytes:
    """Encode tag and length of a UTF8String: DER knows one way."""
    if length < 0x80:
        return bytes((_UTF8_STRING, length))
    encoded = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes((_UTF8_STRING, 0x80 | len(encoded))) + encoded


def _utf8(raw: bytes, what: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(
            f"signer's certificate: {what}: not UTF-8: {raw[:40].hex()}", reason="bad-certificate"
        ) from error
