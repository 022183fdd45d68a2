"""What a file is that was given in place of another: by how it begins, and what to do with it.

People have signatures and keys of other tools beside those that are wanted here, and name
the wrong one. Nothing is said against such a file, so it is refused, by its name.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from typing import Any, Final

from appliance.errors import RefusedError
from appliance.patterns import pattern

_CONVERT: Final = "where there is a network: cosign bundle create --artifact FILE "
_AS_SPKI: Final = "write it as PEM: "
_PARTS: Final = _CONVERT + "--signature FILE.sig --certificate FILE.pem --out FILE.sigstore.json"
_NO_LOG_ENTRY: Final = "what cosign, gh, npm and the Python registry write has the log entry in it"
_FETCH_AGAIN: Final = "fetch the file again, and look at what the server says"
PUBLIC_KEY: Final = "a public key"
BUNDLE: Final = "a Sigstore bundle"
TRUSTED_ROOT: Final = "a trusted root"
CERTIFICATES: Final = "certificates"
_CERTIFICATE: Final = b"-----BEGIN CERTIFICATE-----"
_PUBLIC_KEY: Final = b"-----BEGIN PUBLIC KEY-----"
_GIT_LFS: Final = b"version https" + b"://git-lfs"  # its first line; no address that is used
_OF_CERTIFICATE: Final = {
    PUBLIC_KEY: "its key: openssl x509 -in FILE -noout -pubkey",
    TRUSTED_ROOT: "make one of it: cosign trusted-root create",
}
# Beginnings, what they are of, and the next step.
_BEGINNINGS: Final[tuple[tuple[bytes, str, str], ...]] = (
    (b"\x1f\x8b", "compressed by gzip", "unpack it: gunzip FILE"),
    (b"\x28\xb5\x2f\xfd", "compressed by Zstandard", "unpack it: zstd -d FILE"),
    (b"\xfd7zXZ\x00", "compressed by xz", "unpack it: xz -d FILE"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it: unzip FILE"),
    (_CERTIFICATE, "a certificate in PEM", _PARTS),
    (_PUBLIC_KEY, "a public key in PEM", "--key takes it"),
    (
        b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY",
        "a private key of cosign",
        "its public half: cosign public-key --key FILE",
    ),
    (
        b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY",
        "a private key of cosign",
        "its public half: cosign public-key --key FILE",
    ),
    *(
        (
            b"-----BEGIN " + name + b"PRIVATE KEY",
            "a private key in PEM",
            "its public half: openssl pkey -in FILE -pubout",
        )
        for name in (b"", b"EC ", b"RSA ", b"ENCRYPTED ")
    ),
    (
        b"-----BEGIN OPENSSH PRIVATE KEY",
        "a private key of OpenSSH",
        "its public half: ssh-keygen -e -m PKCS8 -f FILE",
    ),
    (b"-----BEGIN PGP SIGNATURE-----", "an OpenPGP signature", "verify it with gpg"),
    (b"-----BEGIN PGP PUBLIC KEY", "an OpenPGP key", "verify with gpg what it signed"),
    (b"-----BEGIN SSH SIGNATURE-----", "an SSH signature", "verify it with ssh-keygen -Y verify"),
    (b"-----BEGIN PKCS7-----", "a PKCS #7 signature", "verify it with openssl cms"),
    (
        b"---- BEGIN SSH2 PUBLIC KEY ----",
        "an SSH key (RFC 4716)",
        f"{_AS_SPKI}ssh-keygen -i -f FILE, then ssh-keygen -e -m PKCS8 -f THAT",
    ),
    *(
        (name + b" ", "an OpenSSH key", f"{_AS_SPKI}ssh-keygen -e -m PKCS8 -f FILE")
        for name in (b"ssh-ed25519", b"ssh-rsa", b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp384")
    ),
    (b"untrusted comment:", "of minisign or signify", "verify it with minisign"),
    (_GIT_LFS, "a Git LFS pointer, not the file", "fetch it: git lfs pull"),
    (b"<!DOCTYPE", "a web page", _FETCH_AGAIN),
    (b"<html", "a web page", _FETCH_AGAIN),
)
# JSON objects: the names that all have to be there, what they are, and the next step.
_OBJECTS: Final[tuple[tuple[frozenset[str], str, str], ...]] = (
    (
        frozenset(("payloadType", "signatures")),
        "a DSSE envelope without its log entry",
        f"{_NO_LOG_ENTRY}; or {_CONVERT}--attestation FILE --out FILE.sigstore.json",
    ),
    (frozenset(("_type", "subject")), "an in-toto statement that nobody signed", _NO_LOG_ENTRY),
    (
        frozenset(("signed", "signatures")),
        "TUF metadata",
        "attestor trust import takes a repository",
    ),
    (
        frozenset(("bundle_url", "bundle")),
        "an answer of GitHub's that names where the bundle is, and does not hold it",
        "where there is a network: gh attestation download FILE",
    ),
    (
        frozenset(("critical", "optional")),
        "what cosign says of a signature, without the signature",
        "an image: carry it as a layout, with what refers to it (--image-layout)",
    ),
    (
        frozenset(("Base64Signature", "Payload")),
        "a signature as cosign download signature prints it",
        "sign again with cosign 3, or make a bundle of it: cosign bundle create",
    ),
    (frozenset(("message", "documentation_url")), "an error that GitHub answered", _FETCH_AGAIN),
    (frozenset(("Body", "LogIndex", "LogID")), "a log's answer about an entry", _NO_LOG_ENTRY),
    (frozenset(("kty",)), "a JSON Web Key", f"{_AS_SPKI}BEGIN PUBLIC KEY"),
    (
        frozenset(("keys",)),
        "a list of keys",
        f"{_AS_SPKI}a `key` of the npm registry's stands between BEGIN and END PUBLIC KEY",
    ),
)
_FAMILY: Final = pattern(
    r"application/vnd\.dev\.sigstore\.(bundle|trustedroot|signingconfig|clienttrustconfig)\b"
)
_NAMES: Final = {
    "bundle": ("a Sigstore bundle", "--bundle takes it"),
    "trustedroot": ("a Sigstore trusted root", "--trusted-root takes it"),
    "signingconfig": ("a Sigstore signing config", "signing wants it, verifying does not"),
    "clienttrustconfig": (
        "a ClientTrustConfig",
        "give its trusted root: jq .trustedRoot FILE",
    ),
}
_BARE_KEY: Final = f"{_AS_SPKI}put lines BEGIN PUBLIC KEY and END PUBLIC KEY around it"
_BASE64: Final = pattern(rb"[A-Za-z0-9+/\r\n]{40,}={0,2}\s*")
_MAX_SIGNATURE: Final = 1400  # characters of base64; RSA of 8192 bits


def foreign_file(raw: bytes, what: str) -> RefusedError | None:
    """Return why a file is not `what`, if it is of a kind that is known by its beginning."""
    start = raw.lstrip(b" \t\r\n")
    if start.startswith(_CERTIFICATE) and what in _OF_CERTIFICATE:
        return _refused(what, "a certificate in PEM", _OF_CERTIFICATE[what])
    if what == PUBLIC_KEY and start.startswith(_PUBLIC_KEY):
        return None  # a damaged one
    for beginning, kind, step in _BEGINNINGS:
        if start[: len(beginning)].lower() == beginning.lower():
            return _refused(what, kind, step)
    if start[:2] in (b"\x30\x82", b"\x30\x81", b"\x30\x80"):
        kind = "DER: a certificate, a key, an RFC 3161 stamp or a PKCS #7 signature"
        return _refused(what, kind, "attestor inspect FILE")
    if _BASE64.fullmatch(start):
        if b64decode(start[:8])[:1] in (b"{", b"["):
            return _refused(what, "JSON in base64", "decode it: base64 -d FILE")
        if len(start) > _MAX_SIGNATURE:
            return None
        step = _BARE_KEY if what == PUBLIC_KEY else _PARTS
        return _refused(what, "a bare signature or key in base64", step)
    return None


def foreign_object(fields: Mapping[str, Any], what: str) -> RefusedError | None:
    """Return why a JSON object is not `what`, if it is of another kind that is known."""
    media_type = fields.get("mediaType", fields.get("media_type"))
    family = _FAMILY.match(media_type) if isinstance(media_type, str) else None
    if family is not None:
        return _refused(what, *_NAMES[family[1]])
    for names, kind, step in _OBJECTS:
        if names <= fields.keys():
            return _refused(what, kind, step)
    first = next(iter(fields.values()), None)
    if isinstance(first, dict) and {"body", "logID", "logIndex"} <= first.keys():
        return _refused(what, "a log's answer about an entry", _NO_LOG_ENTRY)
    return None


def _refused(what: str, kind: str, next_step: str) -> RefusedError:
    return RefusedError(
        f"expected {what}, got a file that is {kind}", reason="other-file", next_step=next_step
    )
