"""Does a certificate's key sign a time-stamp token (RFC 5652 5.4, RFC 3161 2.4.2)?

The signature is over the signed attributes; one of them is the digest of the content, one
names the certificate (RFC 5816, and before it RFC 2634). Whether the certificate may stamp,
certificates and timestamps say.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from appliance.errors import MalformedError, RefusedError, SignatureError
from appliance.sigstore.der import (
    INTEGER,
    SEQUENCE,
    SET,
    Elements,
    context_tag,
    decode_integer,
    encode,
    only_element,
    sorted_set,
)
from appliance.sigstore.time_stamp_token import (
    TST_INFO,
    AlgorithmId,
    SignerInfo,
    TimeStampToken,
    certificate_name,
    parse_attributes,
    read_algorithm,
)
from appliance.tlog.rsa_exponent import long_exponent

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.padding import PSS
    from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
    from cryptography.x509 import Certificate

DIGESTS: Final = {
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
}
_CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
# Attributes that name the signing certificate, and by which hash if they do not say.
_SIGNING_CERTIFICATES: Final = {
    "1.2.840.113549.1.9.16.2.12": "sha1",
    "1.2.840.113549.1.9.16.2.47": "sha256",
}
# Signature algorithm: which key, and the hash if the algorithm names it itself.
_RSA_PSS: Final = "1.2.840.113549.1.1.10"
_SIGNATURES: Final = {
    "1.2.840.113549.1.1.1": ("rsa", ""),
    "1.2.840.113549.1.1.11": ("rsa", "sha256"),
    "1.2.840.113549.1.1.12": ("rsa", "sha384"),
    "1.2.840.113549.1.1.13": ("rsa", "sha512"),
    _RSA_PSS: ("rsa-pss", ""),
    "1.2.840.10045.2.1": ("ecdsa", ""),
    "1.2.840.10045.4.3.2": ("ecdsa", "sha256"),
    "1.2.840.10045.4.3.3": ("ecdsa", "sha384"),
    "1.2.840.10045.4.3.4": ("ecdsa", "sha512"),
    "1.3.101.112": ("ed25519", ""),
}
_MGF1: Final = "1.2.840.113549.1.1.8"
_DEFAULT_SALT_BYTES: Final = 20


def verify_token(token: TimeStampToken, info: SignerInfo, signer: Certificate, der: bytes) -> None:
    """Verify that `signer`, whose DER is `der`, signed a token.

    A hash by which the token names its certificate has to be that of `der`. RFC 3161 2.4.2 asks
    for one; as no reference client does, a token without is verified by its key.

    Raises SignatureError (bad-stamp), MalformedError (bad-stamp-form), or RefusedError
    (unsupported-stamp) for an algorithm that nothing here can verify.
    """
    digest = digest_name(info.digest)
    if info.digest.oid not in token.digest_algorithms:
        raise MalformedError(
            f"timestamp: its list of digest algorithms lacks {digest}", reason="bad-stamp-form"
        )
    try:
        attributes = parse_attributes(info.signed_attributes)
        kind = Elements(attributes[_CONTENT_TYPE].encoded, "contentType").object_identifier("value")
        content = Elements(attributes[_MESSAGE_DIGEST].encoded, "messageDigest").octets("value")
        for oid, by_default in _SIGNING_CERTIFICATES.items():
            if oid in attributes:
                named = Elements(attributes[oid].encoded, "signingCertificate")
                _check_certificate_hash(named, by_default, der)
    except KeyError as error:
        raise MalformedError(
            f"timestamp: no signed attribute {error.args[0]}", reason="bad-stamp-form"
        ) from error
    except MalformedError as error:
        raise MalformedError(f"timestamp: {error.message}", reason="bad-stamp-form") from error
    if kind != TST_INFO:
        raise SignatureError(f"timestamp: the signature is over a {kind}", reason="bad-stamp")
    if content != hashlib.new(digest, token.content).digest():
        raise SignatureError(
            "timestamp: the message digest is not that of its content", reason="bad-stamp"
        )
    came = encode(SET, info.signed_attributes)
    ordered = encode(SET, sorted_set(info.signed_attributes, "signedAttrs"))
    # The signature is over the set in DER's order, however it was sent (RFC 5652 5.4); there
    # are signers that keep their own. Either way it covers the same attributes.
    if not any(_signed(info, digest, signer, one) for one in dict.fromkeys((ordered, came))):
        raise SignatureError(
            "timestamp: its signature does not verify under the authority's key",
            reason="bad-stamp",
        )


def digest_name(algorithm: AlgorithmId) -> str:
    """Return hashlib's name of a digest algorithm; raises RefusedError (unsupported-stamp)."""
    name = DIGESTS.get(algorithm.oid)
    if name is None or not algorithm.has_none:
        parameters = "" if algorithm.has_none else " with parameters"
        raise _unsupported(
            f"digest algorithm {algorithm.oid}{parameters}, expected {_list(DIGESTS)}"
        )
    return name


def _check_certificate_hash(attribute: Elements, by_default: str, der: bytes) -> None:
    """Check that the first certificate an attribute names is the signer's (RFC 5816 2.2.1).

    That it is follows from the key, too: the hash only says it once more, so SHA-1 will do.
    """
    named = attribute.sequence("value").sequence("certs").sequence("certificate")
    algorithm = named.take_if(SEQUENCE)
    digest = by_default
    if algorithm is not None:
        digest = digest_name(read_algorithm(algorithm.children("hashAlgorithm")))
    hashed = named.octets("hash")
    is_its = hashed == hashlib.new(digest, der, usedforsecurity=False).digest()
    by_issuer = named.take_if(SEQUENCE)
    named.end()
    if by_issuer is not None:
        number = by_issuer.children("issuerSerial")
        names = number.take(SEQUENCE, "issuer").children("issuer").rest()
        issuer, serial = certificate_name(der)
        is_its &= number.integer("serialNumber") == serial
        is_its &= [name.encoded for name in names] == [encode(context_tag(4), issuer)]
        number.end()
    if not is_its:
        raise SignatureError("timestamp: it names another signing certificate", reason="bad-stamp")


def _signed(info: SignerInfo, digest: str, signer: Certificate, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    kind, named = _SIGNATURES.get(info.signature_algorithm.oid, ("", ""))
    key = signer.public_key()
    parameters = None
    if kind == "rsa-pss":
        parameters, named = _pss(info.signature_algorithm.parameters)
    if named not in ("", digest):  # one for attributes and content (RFC 4056 3)
        raise SignatureError(
            f"timestamp: its content is hashed with {digest}, its attributes with {named}",
            reason="bad-stamp",
        )
    if isinstance(key, rsa.RSAPublicKey) and (slow := long_exponent(key)):
        raise _unsupported(f"the key is {slow}")
    try:
        if kind == "rsa" and isinstance(key, rsa.RSAPublicKey):
            key.verify(info.signature, message, padding.PKCS1v15(), _hash(digest))
        elif parameters is not None and isinstance(key, rsa.RSAPublicKey):
            key.verify(info.signature, message, parameters, _hash(digest))
        elif kind == "ecdsa" and isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(info.signature, message, ec.ECDSA(_hash(digest)))
        elif kind == "ed25519" and isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(info.signature, message)
        else:
            raise _unsupported(
                f"signature algorithm {info.signature_algorithm.oid} of a {type(key).__name__}"
            )
    except InvalidSignature:
        return False
    return True


def _hash(name: str) -> SHA256 | SHA384 | SHA512:
    from cryptography.hazmat.primitives import hashes

    classes: dict[str, type[SHA256 | SHA384 | SHA512]] = {
        "sha256": hashes.SHA256,
        "sha384": hashes.SHA384,
        "sha512": hashes.SHA512,
    }
    return classes[name]()


def _pss(parameters: bytes) -> tuple[PSS, str]:
    """Read RSASSA-PSS parameters (RFC 4055 3.1): one hash for message and mask, its salt."""
    from cryptography.hazmat.primitives.asymmetric import padding

    try:
        given = only_element(parameters, SEQUENCE, "rsaPss").children("rsaPss")
        digest, mask = given.take(context_tag(0), "hash"), given.take(context_tag(1), "mask")
        salt = given.take_if(context_tag(2))
        name = digest_name(read_algorithm(digest.children("hash").sequence("algorithm")))
        generator = read_algorithm(mask.children("mask").sequence("algorithm"))
        of_mask = Elements(generator.parameters, "mask").sequence("algorithm")
        if generator.oid != _MGF1 or digest_name(read_algorithm(of_mask)) != name:
            raise _unsupported("RSASSA-PSS with another mask than MGF1 by the same hash")
        n_bytes = _DEFAULT_SALT_BYTES
        if salt is not None:
            encoded = only_element(salt.content, INTEGER, "saltLength").content
            n_bytes = decode_integer(encoded, "saltLength")
        return padding.PSS(padding.MGF1(_hash(name)), n_bytes), name
    except (MalformedError, ValueError) as error:
        raise MalformedError(
            f"timestamp: RSASSA-PSS parameters: {error}", reason="bad-stamp-form"
        ) from error


def _unsupported(what: str) -> RefusedError:
    return RefusedError(f"timestamp: {what}: not supported here", reason="unsupported-stamp")


def _list(names: dict[str, str]) -> str:
    return ", ".join(names.values())
