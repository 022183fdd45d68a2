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
    BIT_STRING,
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    SET,
    Element,
    Elements,
    context_tag,
    decode_integer,
    definite_form,
    only_element,
)
from appliance.value import frozen

GRANTED: Final = 0
SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
TST_INFO: Final = "1.2.840.113549.1.9.16.1.4"
_NULL: Final = b"\x05\x00"
# Encodings of the string types that are not UTF-8 or a part of it (X.680 41).
_WIDE: Final = {0x14: "latin-1", 0x1C: "utf-32-be", 0x1E: "utf-16-be"}


@frozen
class AlgorithmId:
    """An AlgorithmIdentifier."""

    oid: str
    parameters: bytes  # DER; empty if absent

    @property
    def has_none(self) -> bool:
        """Whether there are no parameters, in either spelling (RFC 5754 2)."""
        return self.parameters in (b"", _NULL)


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
    imprint_algorithm: AlgorithmId
    imprint: bytes
    time: datetime
    authority_name: bytes  # the general name it gives itself, DER; empty if it gives none
    digest_algorithms: tuple[str, ...]  # OIDs that it says its signatures use
    certificates: tuple[bytes, ...]  # embedded, DER, in the order they came
    signer_infos: tuple[SignerInfo, ...]


def parse_response(raw: bytes) -> tuple[int, TimeStampToken | None]:
    """Parse a TimeStampResp: the status, and the token if it was granted.

    It may be in BER, as several authorities write what they do not sign. Raises
    MalformedError with reason bad-stamp-form.
    """
    try:
        return _read_response(raw)
    except MalformedError as error:
        found = error
    try:
        definite = definite_form(raw, "timestamp")
        if definite != raw:
            return _read_response(definite)
    except MalformedError as error:
        found = error
    raise MalformedError(
        f"not an RFC 3161 response: {found.message}", reason="bad-stamp-form"
    ) from found


def _read_response(raw: bytes) -> tuple[int, TimeStampToken | None]:
    response = only_element(raw, SEQUENCE, "timestamp").children("timestamp")
    info = response.sequence("status")
    status = info.integer("status")
    info.take_if(SEQUENCE)  # statusString
    info.take_if(BIT_STRING)  # failInfo
    info.end()
    if status != GRANTED:
        return status, None
    token = _read_token(response.sequence("timeStampToken"))
    response.end()
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


def comparable_name(general_name: bytes) -> object:
    """Return what a directory name says, whatever its case, spaces and types of string.

    Only for comparing (RFC 5280 7.1); any other general name is returned as it is. Raises
    MalformedError.
    """
    (name,) = Elements(general_name, "name").rest()
    if name.tag != context_tag(4):
        return general_name
    parts: list[tuple[int, str, str]] = []
    groups = only_element(name.content, SEQUENCE, "name").children("name").rest()
    for number, group in enumerate(groups):
        for one in group.children("name").rest():
            attribute = _children(one, "name.attribute")
            oid, *values = attribute.object_identifier("type"), *attribute.rest()
            for value in values:
                text = value.content.decode(_WIDE.get(value.tag, "utf-8"), "backslashreplace")
                parts.append((number, oid, " ".join(text.lower().split())))
    return parts


def _read_token(token: Elements) -> TimeStampToken:
    kind = token.object_identifier("contentType")
    if kind != SIGNED_DATA:
        raise MalformedError(f"timeStampToken: expected signed data, got {kind}")
    wrapped = token.take(context_tag(0), "content").children("timeStampToken.content")
    token.end()
    signed = wrapped.sequence("signedData")
    wrapped.end()
    signed.integer("version")
    digests = signed.take(SET, "digestAlgorithms").children("digestAlgorithms").rest()
    content = _read_content(signed.sequence("encapContentInfo"))
    embedded = signed.take_if(context_tag(0))
    signed.take_if(context_tag(1))  # revocation lists: the trusted root's windows decide here
    signers = signed.take(SET, "signerInfos").children("signerInfos").rest()
    signed.end()
    info = _read_tst_info(only_element(content, SEQUENCE, "tstInfo").children("tstInfo"))
    return TimeStampToken(
        content=content,
        imprint_algorithm=info.algorithm,
        imprint=info.imprint,
        time=info.time,
        authority_name=info.authority_name,
        digest_algorithms=tuple(
            read_algorithm(_children(digest, "digestAlgorithm")).oid for digest in digests
        ),
        # Attribute certificates and other forms stand there, too, under other tags.
        certificates=tuple(
            one.encoded
            for one in (embedded.children("certificates").rest() if embedded else ())
            if one.tag == SEQUENCE
        ),
        signer_infos=tuple(
            _read_signer_info(_children(signer, "signerInfo")) for signer in signers
        ),
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


@frozen
class _TstInfo:
    algorithm: AlgorithmId
    imprint: bytes
    time: datetime
    authority_name: bytes


def _read_tst_info(info: Elements) -> _TstInfo:
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
    accuracy = info.take_if(SEQUENCE)
    if accuracy is not None:
        _check_accuracy(accuracy.children("tstInfo.accuracy"))
    info.boolean_if()  # ordering
    nonce = info.take_if(INTEGER)
    if nonce is not None:
        decode_integer(nonce.content, "tstInfo.nonce")
    name = info.take_if(context_tag(0))
    names = () if name is None else name.children("tstInfo.tsa").rest()
    if name is not None and len(names) != 1:
        raise MalformedError(f"tstInfo.tsa: expected one name, got {len(names)}")
    extensions = info.take_if(context_tag(1))
    info.end()
    for one in extensions.children("tstInfo.extensions").rest() if extensions else ():
        _check_not_critical(_children(one, "tstInfo.extension"))
    return _TstInfo(algorithm, hashed, time, b"".join(one.encoded for one in names))


def _check_accuracy(accuracy: Elements) -> None:
    """Seconds, then 1 to 999 milli- and microseconds; any may be absent (RFC 3161 2.4.2)."""
    parts = [accuracy.take_if(INTEGER)]
    parts += [accuracy.take_if(context_tag(one, constructed=False)) for one in (0, 1)]
    accuracy.end()
    values = [
        0 if part is None else decode_integer(part.content, "tstInfo.accuracy") for part in parts
    ]
    if values[0] < 0 or any(
        one is not None and not 1 <= value <= 999
        for one, value in zip(parts[1:], values[1:], strict=True)
    ):
        raise MalformedError(f"tstInfo.accuracy: out of range: {values}")


def _check_not_critical(extension: Elements) -> None:
    """No extension of a TSTInfo is known here, so none may be critical (RFC 3161 2.4.2)."""
    oid = extension.object_identifier("extnID")
    if extension.boolean_if():
        raise MalformedError(f"tstInfo: critical extension {oid}, which is not known here")
    extension.take(OCTET_STRING, "extnValue")
    extension.end()


def _children(element: Element, what: str) -> Elements:
    return only_element(element.encoded, SEQUENCE, what).children(what)
