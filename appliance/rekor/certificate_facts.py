"""What a certificate says of its holder, read leniently and fast: for finding, never for trust.

A walk over the DER takes what a search asks for, a fraction of the time a full parser needs.
It reads more than RFC 5280 allows (dates out of range, keys off their curve), because whoever
looks for misuse of a name wants the malformed certificates, too. What the walk refuses and
`cryptography` reads is taken from there. A broken field spoils only itself.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

from appliance.errors import MalformedError
from appliance.rekor.x509_certificate import BROKEN_DER, load_certificate

_SEQUENCE: Final = 0x30
_OID: Final = 0x06
_OCTETS: Final = 0x04
_SAN: Final = bytes.fromhex("551d11")
_FULCIO: Final = bytes.fromhex("2b0601040183bf3001")  # 1.3.6.1.4.1.57264.1, one number follows
_ISSUERS: Final = (1, 8)
_RAW_CLAIMS: Final = 6  # numbers up to this hold text as it stands, later ones a UTF8String
_NEVER_AGAIN: Final = (  # in another certificate: the key's identifier, what a CT log signed
    bytes.fromhex("551d0e"),
    bytes.fromhex("2b06010401d679020402"),
)
_CRITICAL: Final = bytes.fromhex("0101ff")
_OTHER_NAME: Final = 0xA0
_NAME_KINDS: Final = {0x81: "email", 0x82: "dns", 0x86: "uri"}
# Headers of keys that have one spelling only: P-256, P-384 and P-521 uncompressed, Ed25519.
_PLAIN_KEYS: Final = {
    bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004"): 91,
    bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004"): 120,
    bytes.fromhex("30819b301006072a8648ce3d020106052b8104002303818600" + "04"): 158,
    bytes.fromhex("302a300506032b6570032100"): 44,
}

# The certificate of a signer as Fulcio and its like make them, up to its names: its own length
# and that of what is signed, the issuer's, when it begins, the key, and the lengths of the
# extensions in their two wrappings. Keys of P-256 and P-384, an empty subject, signed by ECDSA. The
# first extensions, where they are the usual ones, say what the key is for and which keys they are.
_USUAL: Final = re.compile(
    rb"0\x82(..)0\x82(..)\xa0\x03\x02\x01\x02\x02"
    rb"(?:" + b"|".join(rb"%c.{%d}" % (n, n) for n in range(8, 21)) + rb")"
    rb"0\n\x06\x08\*\x86H\xce=\x04\x03.0([\0-\x7f])(.*?)"
    rb"0\x1e\x17\r([0-9]{12}Z)\x17\r.{13}0\0"
    rb"(0Y0\x13\x06\x07\*\x86H\xce=\x02\x01\x06\x08\*\x86H\xce=\x03\x01\x07\x03B\0\x04.{64}"
    rb"|0v0\x10\x06\x07\*\x86H\xce=\x02\x01\x06\x05\+\x81\x04\0\"\x03b\0\x04.{96})"
    rb"\xa3\x82(..)0\x82(..)"
    rb"(?:0\x0e\x06\x03U\x1d\x0f\x01\x01\xff\x04\x04\x03\x02\x07\x80"
    rb"0\x13\x06\x03U\x1d%\x04\x0c0\n\x06\x08\+\x06\x01\x05\x05\x07\x03\x03"
    rb"0\x1d\x06\x03U\x1d\x0e\x04\x16.{22}0\x1f\x06\x03U\x1d#\x04\x18.{24})?",
    re.DOTALL,
)


class _Said(NamedTuple):
    """What extensions say."""

    names: tuple[tuple[str, str], ...] = ()  # kind and name
    claims: tuple[tuple[int, str], ...] = ()  # number and text
    issuers: tuple[str, ...] = ()  # of the claims, each once


_NOTHING: Final = _Said()
_MAX_KNOWN: Final = 8192  # extensions that are remembered: the most are in each certificate
_MAX_KNOWN_BYTES: Final = 512  # of one
_MAX_FOLLOWING_BYTES: Final = 4096  # of those behind a name
_known: dict[bytes, _Said] = {}
# By an extension with names: all behind it up to the last that claims something, and what
# they say. One run of a CI signs many things, each by a certificate with the same of them.
_following: dict[bytes, tuple[bytes, _Said]] = {}


class CertificateFacts(NamedTuple):
    """What one certificate claims."""

    identities: tuple[tuple[str, str], ...]  # kind (email, dns, uri, other) and name, as written
    claims: tuple[tuple[int, str], ...]  # last number of the Fulcio OID, and the text
    keys: tuple[bytes, ...]  # SHA-256 of the public key's DER, in each of its spellings
    signed_at: int | None  # notBefore, Unix seconds: what the CA says; None: no such date
    issuers: tuple[str, ...]  # who is said to have vouched: both extensions for it, each once


def read_certificate(der: bytes) -> CertificateFacts:
    """Read a certificate; raises MalformedError (bad-certificate) if nothing can read it."""
    try:
        return _walk(der)
    except MalformedError:
        return _by_library(der)


def key_digests(spki: bytes) -> tuple[bytes, ...]:
    """Return the SHA-256 of a public key as it stands and, if it differs, as it is usually written.

    One key can be written in several ways (compressed points); people know one digest of it.
    """
    own = sha256(spki).digest()
    for header, length in _PLAIN_KEYS.items():
        if spki.startswith(header) and len(spki) == length:
            return (own,)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_der_public_key,
    )

    try:
        key = load_der_public_key(spki)
        usual = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (*BROKEN_DER, UnsupportedAlgorithm):
        return (own,)
    return tuple(dict.fromkeys((own, sha256(usual).digest())))


def _walk(der: bytes) -> CertificateFacts:
    usual = _USUAL.match(der)
    if usual is not None and (facts := _as_usual(der, usual)) is not None:
        return facts
    _, start, stop = _tagged(der, 0, len(der), _SEQUENCE)
    _, at, end = _tagged(der, start, stop, _SEQUENCE)
    fields = list(_elements(der, at, end))
    if fields and fields[0][0] == 0xA0:  # version
        fields.pop(0)
    if len(fields) < 6:  # serial, algorithm, issuer, validity, subject, key
        raise _broken("fewer fields than a certificate has")
    _, start, stop, _ = fields[3]
    not_before = next(_elements(der, start, stop), None)
    tag, start, stop, key_at = fields[5]
    if tag != _SEQUENCE or fields[3][0] != _SEQUENCE or not_before is None:
        raise _broken("a field of another type")
    extensions: list[_Said] = []
    for tag, first, last, _ in fields[6:]:
        if tag == 0xA3:
            _, first, last = _tagged(der, first, last, _SEQUENCE)
            extensions += _extensions(der, first, last)
    signed_at = _time(not_before[0], der[not_before[1] : not_before[2]])
    said = _together(extensions)
    return CertificateFacts(
        said.names, said.claims, key_digests(der[key_at:stop]), signed_at, said.issuers
    )


def _as_usual(der: bytes, usual: re.Match[bytes]) -> CertificateFacts | None:
    """Read a certificate of the usual form; None if its lengths are not those of its parts."""
    whole, signed, n_issuer, issuer, began, spki, n_wrapped, n_extensions = usual.groups()
    first = usual.end(8)
    last = first + int.from_bytes(n_extensions)
    end = first - 4 + int.from_bytes(n_wrapped)
    if (
        end != 8 + int.from_bytes(signed)  # nothing of what is signed is behind the extensions
        or not last <= end <= 4 + int.from_bytes(whole) <= len(der)
        or len(issuer) != n_issuer[0]
    ):
        return None
    if usual.end() > last:
        return None
    said = _together(_extensions(der, usual.end(), last))
    keys = (sha256(spki).digest(),)
    return CertificateFacts(said.names, said.claims, keys, _time(0x17, began), said.issuers)


def _extensions(der: bytes, at: int, last: int) -> list[_Said]:
    """Read extensions; most of them were read a moment ago, in another certificate."""
    found: list[_Said] = []
    named, named_at = b"", 0  # the first extension with names, and what was found up to it
    behind = claimed_at = n_claimed = 0  # its end, that of the last with claims, found up to there
    while at < last:
        start = at + 2
        end = start + der[at + 1] if start <= last else start
        if end - start == 0x81 and start < last:  # one byte that holds the length
            start += 1
            end = start + der[start - 1]
        elif end - start >= 0x80:
            end = last + 1
        if end > last or der[at] & 0x1F == 0x1F:  # nearly all are short, and whole
            _, start, end = _element(der, at, last)
        raw = der[at:end]
        said = _known.get(raw)
        if said is None:
            said = _read_extension(raw, start - at)
        at = end
        if said is _NOTHING:
            continue
        found.append(said)
        if said.claims:
            claimed_at, n_claimed = end, len(found)
        elif not named:
            named, named_at, behind = raw, len(found), end
            following = _following.get(raw)
            if following is not None and der.startswith(following[0], end):
                beyond = end + len(following[0])
                if beyond <= last:
                    found.append(following[1])
                    at = beyond
    is_short = len(named) <= _MAX_KNOWN_BYTES and claimed_at <= behind + _MAX_FOLLOWING_BYTES
    if named and behind < claimed_at and is_short:
        if len(_following) >= _MAX_KNOWN:
            _following.clear()
        # Not what is said behind them: that is another certificate's to say.
        said = _together(found[named_at:n_claimed])
        _following[named] = der[behind:claimed_at], said
        found[named_at:n_claimed] = [said]  # the same object, as in the next certificate
    return found


def _together(found: Sequence[_Said]) -> _Said:
    """Join what several extensions say."""
    names: tuple[tuple[str, str], ...] = ()
    claims: tuple[tuple[int, str], ...] = ()
    issuers: tuple[str, ...] = ()
    for one in found:  # mostly two, of which each says something else: then nothing is copied
        names += one.names
        claims += one.claims
        issuers += one.issuers
    return _Said(names, claims, issuers if len(issuers) < 2 else tuple(dict.fromkeys(issuers)))


def _read_extension(raw: bytes, start: int) -> _Said:
    """Read an extension, and remember what may come again."""
    oid, value = _short_extension(raw, start) or _extension(raw, start)
    if oid in _NEVER_AGAIN:
        return _NOTHING
    said = _said(oid, value)
    if len(raw) <= _MAX_KNOWN_BYTES:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        _known[raw] = said
    return said


def _extension(raw: bytes, start: int) -> tuple[bytes, bytes]:
    """Return OID and value of an extension."""
    parts = list(_elements(raw, start, len(raw)))
    if len(parts) < 2 or parts[0][0] != _OID or parts[-1][0] != _OCTETS:
        raise _broken("an extension of another form")
    return raw[parts[0][1] : parts[0][2]], raw[parts[-1][1] : parts[-1][2]]


def _short_extension(raw: bytes, start: int) -> tuple[bytes, bytes] | None:
    """Do the same for nearly all of them, at once: OID, maybe "critical", value, and no more."""
    if len(raw) < start + 12 or raw[start] != _OID or (length := raw[start + 1]) > 10:
        return None
    stop = start + 2 + length  # of 12 bytes and more
    at = stop + 3 if raw.startswith(_CRITICAL, stop) else stop
    first = at + 2
    if first > len(raw) or raw[at] != _OCTETS or raw[at + 1] >= 0x80:
        return None
    if first + raw[at + 1] != len(raw):
        return None
    return raw[start + 2 : stop], raw[first:]


def _said(oid: bytes, value: bytes) -> _Said:
    """Return the names and the claims of an extension; of most kinds there are none."""
    if oid == _SAN:
        return _Said(names=tuple(_names(value)))
    if len(oid) == len(_FULCIO) + 1 and oid.startswith(_FULCIO) and oid[-1] < 0x80:
        text = _claim(oid[-1], value)
        return _Said(claims=((oid[-1], text),), issuers=(text,) if oid[-1] in _ISSUERS else ())
    return _NOTHING


def _names(der: bytes) -> list[tuple[str, str]]:
    _, start, stop = _tagged(der, 0, len(der), _SEQUENCE)
    names = []
    for tag, first, last, _ in _elements(der, start, stop):
        if tag in _NAME_KINDS:
            names.append((_NAME_KINDS[tag], _text(der[first:last])))
        elif tag == _OTHER_NAME:
            parts = list(_elements(der, first, last))
            if len(parts) == 2 and parts[1][0] == 0xA0:
                names.append(("other", _text(_inner(der[parts[1][1] : parts[1][2]]))))
    return names


def _claim(number: int, value: bytes) -> str:
    return _text(value if number <= _RAW_CLAIMS else _inner(value))


def _inner(value: bytes) -> bytes:
    """Return the contents of a DER string; of what is none, all of it."""
    if len(value) >= 2 and value[0] & 0x1F != 0x1F and value[1] < 0x80:  # nearly all
        stop = 2 + value[1]
        return value[2:stop] if stop <= len(value) else value
    try:
        _, start, stop = _element(value, 0, len(value))
    except MalformedError:
        return value
    return value[start:stop]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _time(tag: int, raw: bytes) -> int | None:
    """Read a UTCTime or GeneralizedTime in the one form certificates have; None if it is not."""
    text = raw.decode("ascii", "replace")
    if tag == 0x17 and len(text) == 13:
        text = ("19" if text[:2] >= "50" else "20") + text
    if len(text) != 15 or text[-1] != "Z" or not (text[:-1].isascii() and text[:-1].isdigit()):
        return None
    midnight = _midnight(text[:8])
    if midnight is None:
        return None
    return midnight + int(text[8:10]) * 3600 + int(text[10:12]) * 60 + int(text[12:14])


@lru_cache(maxsize=4096)
def _midnight(digits: str) -> int | None:
    """Return when a day began, in Unix seconds; None if no year has such a month or day."""
    year, month, day = int(digits[:4]), int(digits[4:6]), int(digits[6:8])
    if not (1 <= month <= 12 and 1 <= day <= 31 and year >= 1):
        return None
    try:
        return calendar.timegm((year, month, day, 0, 0, 0, 0, 0, 0))
    except ValueError:
        return None


def _by_library(der: bytes) -> CertificateFacts:
    """Read what the walk could not, or raise MalformedError."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    certificate = load_certificate(der, "certificate")
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    found = []
    for extension in certificate.extensions:
        try:
            value = extension.value.public_bytes()
        except (*BROKEN_DER, NotImplementedError):
            continue
        found.append(_said(_oid_bytes(extension.oid.dotted_string), value))
    said, signed_at = _together(found), int(certificate.not_valid_before_utc.timestamp())
    return CertificateFacts(said.names, said.claims, key_digests(key), signed_at, said.issuers)


def _oid_bytes(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    encoded = b""
    for number in (first * 40 + second, *rest):
        groups = [number & 0x7F]
        while number := number >> 7:
            groups.insert(0, 0x80 | (number & 0x7F))
        encoded += bytes(groups)
    return encoded


def _elements(der: bytes, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield tag, start and end of the contents, and place, of each element up to `end`."""
    while at < end:
        tag, length = der[at], der[at + 1] if at + 1 < end else 0x80
        start = at + 2
        stop = start + length
        if length >= 0x80 or tag & 0x1F == 0x1F or stop > end:  # nearly all are short
            tag, start, stop = _element(der, at, end)
        yield tag, start, stop, at
        at = stop


def _tagged(der: bytes, at: int, end: int, expected: int) -> tuple[int, int, int]:
    found = _element(der, at, end)
    if found[0] != expected:
        raise _broken(f"tag {found[0]:#x}, expected {expected:#x}")
    return found


def _element(der: bytes, at: int, end: int) -> tuple[int, int, int]:
    if at + 2 > end:
        raise _broken("it ends inside an element")
    tag, length, start = der[at], der[at + 1], at + 2
    if length >= 0x80:
        n_bytes = length & 0x7F
        if not 1 <= n_bytes <= 4:
            raise _broken("a length of another form")
        length = int.from_bytes(der[start : start + n_bytes])
        start += n_bytes
    if tag & 0x1F == 0x1F or start + length > end:
        raise _broken("an element is longer than what holds it")
    return tag, start, start + length


def _broken(what: str) -> MalformedError:
    return MalformedError(f"certificate: {what}", reason="bad-certificate")
