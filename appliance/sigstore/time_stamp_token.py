"""RFC 3161 responses, and the CMS SignedData (RFC 5652) inside: parsed, and believed in nothing.

Authorities differ in the order of sets, in how they name the signing certificate, and in
what they embed; all of these are read. That there is exactly one signature, whoever
verifies it has to demand.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from appliance.errors import MalformedError
from appliance.sigstore.der import (
    BOOLEAN,
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    SET,
    Element,
    Elements,
    context_tag,
    only_element,
)
from appliance.value import frozen

GRANTED: Final = 0
SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
TST_INFO: Final = "1.2.840.113549.1.9.16.1.4"
_TRUE: Final = b"\xff"


@frozen
class AlgorithmId:
    """An AlgorithmIdentifier."""

    oid: str
    parameters: bytes  # DER; empty if absent


@frozen
class SignerName:
    """Which certificate signed: by issuer and serial number, or by subject key identifier."""

    issuer: bytes  # DER of the name; empty if it is named by its key
    serial: int
    key_identifier: bytes


@frozen
class SignerInfo:
    """One signature of a token; RFC 3161 wants exactly one."""

    signer: SignerName
    digest: AlgorithmId
    signed_attributes: bytes  # content of the set, as it came
    signature_algorithm: AlgorithmId
    signature: bytes


@frozen
class TimeStampToken:
    """A token that parsed. Its time is the sender's word."""

    content: bytes  # TSTInfo, DER; what the message digest attribute is of
    imprint_algorithm: str  # OID
    imprint: bytes
    time: datetime
    certificates: tuple[bytes, ...]  # embedded ones, DER, in the order they came
    signer_infos: tuple[SignerInfo, ...]


def parse_response(raw: bytes) -> tuple[int, TimeStampToken | None]:
    """Parse a TimeStampResp: the status, and the token if it was granted.

    Raises MalformedError with reason bad-stamp-form.
    """
    try:
        response = only_element(raw, SEQUENCE, "timestamp").children("timestamp")
        status = response.sequence("status").integer("status")
        if status != GRANTED:
            return status, None
        token = _read_token(response.sequence("timeStampToken"))
        response.end()
    except MalformedError as error:
        raise MalformedError(
            f"not an RFC 3161 response: {error.message}", reason="bad-stamp-form"
        ) from error
    return status, token


def parse_attributes(content: bytes) -> dict[str, Element]:
    """Parse signed attributes: one value for each type.

    Raises MalformedError for a repeated type, and for none or several values.
    """
    found: dict[str, Element] = {}
    elements = Elements(content, "signedAttrs")
    for one in elements.rest():
        attribute = _children(one, "signedAttrs.attribute")
        oid = attribute.object_identifier("type")
        values = attribute.take(SET, "values").children("signedAttrs.values").rest()
        attribute.end()
        if oid in found or len(values) != 1:
            raise MalformedError(f"signedAttrs: {oid} is repeated, or has {len(values)} values")
        found[oid] = values[0]
    return found


def read_algorithm(elements: Elements) -> AlgorithmId:
    """Read the two elements of an AlgorithmIdentifier; raises MalformedError."""
    oid = elements.object_identifier("algorithm")
    parameters = elements.rest()
    if len(parameters) > 1:
        raise MalformedError(f"algorithm {oid}: more than one parameter")
    return AlgorithmId(oid, parameters[0].encoded if parameters else b"")


def certificate_name(der: bytes) -> tuple[bytes, int]:
    """Return issuer (DER) and serial number of a certificate; raises MalformedError."""
    certificate = only_element(der, SEQUENCE, "certificate").children("certificate")
    body = certificate.sequence("tbsCertificate")
    body.take_if(context_tag(0))
    serial = body.integer("serialNumber")
    body.take(SEQUENCE, "signature")
    return body.take(SEQUENCE, "issuer").encoded, serial


def _read_token(token: Elements) -> TimeStampToken:
    kind = token.object_identifier("contentType")
    if kind != SIGNED_DATA:
        raise MalformedError(f"timeStampToken: expected signed data, got {kind}")
    wrapped = token.take(context_tag(0), "content").children("timeStampToken.content")
    token.end()
    signed = wrapped.sequence("signedData")
    wrapped.end()
    signed.integer("version")
    signed.take(SET, "digestAlgorithms")
    content = _read_content(signed.sequence("encapContentInfo"))
    embedded = signed.take_if(context_tag(0))
    signed.take_if(context_tag(1))  # revocation lists: the trusted root's windows decide here
    signers = signed.take(SET, "signerInfos").children("signerInfos").rest()
    signed.end()
    algorithm, imprint, time = _read_tst_info(
        only_element(content, SEQUENCE, "tstInfo").children("tstInfo")
    )
    return TimeStampToken(
        content=content,
        imprint_algorithm=algorithm.oid,
        imprint=imprint,
        time=time,
        # Attribute certificates and other forms stand there, too, under other tags.
        certificates=tuple(
            one.encoded
            for one in (embedded.children("certificates").rest() if embedded else ())
            if one.tag == SEQUENCE
        ),
        signer_infos=tuple(_read_signer_info(_children(one, "signerInfo")) for one in signers),
    )


def _read_content(content: Elements) -> bytes:
    kind = content.object_identifier("eContentType")
    if kind != TST_INFO:
        raise MalformedError(f"signed data: expected a TSTInfo ({TST_INFO}), got {kind}")
    wrapped = content.take(context_tag(0), "eContent").children("eContent")
    content.end()
    octets = wrapped.octets("octets")
    wrapped.end()
    return octets


def _read_signer_info(info: Elements) -> SignerInfo:
    info.integer("version")
    signer = _read_signer_name(info)
    digest = read_algorithm(info.sequence("digestAlgorithm"))
    attributes = info.take(context_tag(0), "signedAttrs").content
    signature_algorithm = read_algorithm(info.sequence("signatureAlgorithm"))
    signature = info.octets("signature")
    info.take_if(context_tag(1))  # unsigned attributes
    info.end()
    return SignerInfo(signer, digest, attributes, signature_algorithm, signature)


def _read_signer_name(info: Elements) -> SignerName:
    by_key = info.take_if(context_tag(0, constructed=False))
    if by_key is not None:
        return SignerName(b"", 0, by_key.content)
    names = info.sequence("issuerAndSerialNumber")
    issuer, serial = names.take(SEQUENCE, "issuer").encoded, names.integer("serialNumber")
    names.end()
    return SignerName(issuer, serial, b"")


def _read_tst_info(info: Elements) -> tuple[AlgorithmId, bytes, datetime]:
    version = info.integer("version")
    if version != 1:
        raise MalformedError(f"tstInfo.version: expected 1, got {version}")
    info.object_identifier("policy")
    imprint = info.sequence("messageImprint")
    algorithm = read_algorithm(imprint.sequence("hashAlgorithm"))
    hashed = imprint.octets("hashedMessage")
    imprint.end()
    info.integer("serialNumber")
    time = info.time("genTime")
    info.take_if(SEQUENCE)  # accuracy
    info.take_if(BOOLEAN)  # ordering
    info.take_if(INTEGER)  # nonce
    info.take_if(context_tag(0))  # tsa
    extensions = info.take_if(context_tag(1))
    info.end()
    for one in extensions.children("tstInfo.extensions").rest() if extensions else ():
        _check_not_critical(_children(one, "tstInfo.extension"))
    return algorithm, hashed, time


def _check_not_critical(extension: Elements) -> None:
    """No extension of a TSTInfo is known here, so none may be critical (RFC 3161 2.4.2)."""
    oid = extension.object_identifier("extnID")
    critical = extension.take_if(BOOLEAN)
    if critical is not None and critical.content == _TRUE:
        raise MalformedError(f"tstInfo: critical extension {oid}, which is not known here")
    extension.take(OCTET_STRING, "extnValue")
    extension.end()


def _children(element: Element, what: str) -> Elements:
    return only_element(element.encoded, SEQUENCE, what).children(what)
