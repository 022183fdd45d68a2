"""What a proxy before us says of a client, believed only from an address that settings name.

The address comes in X-Forwarded-For, the certificate in a header of the operator's choice: as
RFC 9440 spells it, or as PEM in percent-encoding, which is what nginx has.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterable
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from appliance.serve.requests import Request
from appliance.value import frozen, replaced

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

_FORWARDED: Final = "X-Forwarded-For"
_SIGNS_OF_A_PROXY: Final = (_FORWARDED, "Forwarded", "Via", "X-Real-Ip", "X-Forwarded-Proto")
_MAX_CERTIFICATE: Final = 32 * 1024  # characters of the header
_PEM: Final = b"-----BEGIN CERTIFICATE-----"


@frozen
class ClientCertificate:
    """The names by which a certificate can be allowed."""

    known_as: tuple[str, ...]


@frozen
class Proxies:
    """Who may speak for others."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    certificate_header: str = ""  # "": no certificate is taken from anybody

    def trusts(self, address: str) -> bool:
        """Whether an address is a proxy of ours."""
        parsed = _address(address)
        return parsed is not None and any(parsed in network for network in self.networks)

    def spoken_for(self, request: Request) -> Request:
        """Return the request with the address of the client that a trusted proxy speaks for.

        Read from the right: what stands left of the first address that is not a proxy of
        ours was written by nobody we trust.
        """
        if not self.networks:
            return request
        client = request.peer
        chain = [one.strip() for one in request.headers(_FORWARDED).split(",")]
        while chain and self.trusts(client):
            before = chain.pop()
            if _address(before) is None:
                break
            client = before
        return request if client == request.client else replaced(request, client=client)

    def certificate(self, request: Request) -> ClientCertificate | None:
        """Return the certificate that a trusted proxy verified; None: there is none."""
        if not self.certificate_header or not self.trusts(request.peer):
            return None
        text = request.headers(self.certificate_header).strip()
        if not text or len(text) > _MAX_CERTIFICATE:
            return None
        der = _der(text)
        return None if der is None else _described(der)


def proxies_of(addresses: Iterable[str], certificate_header: str | None) -> Proxies:
    """Make what settings say: addresses and networks, and the name of a header."""
    return Proxies(tuple(ip_network(address) for address in addresses), certificate_header or "")


def is_near(request: Request) -> bool:
    """Whether a request comes from this host, and nothing says that it came through a proxy."""
    address = _address(request.peer)
    if address is None or not address.is_loopback:
        return False
    return not any(request.headers(name) for name in _SIGNS_OF_A_PROXY)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _der(text: str) -> bytes | None:
    """Decode RFC 9440's :BASE64:, or percent-encoded PEM."""
    try:
        if text.startswith(":") and text.endswith(":"):
            return b64decode(text[1:-1], validate=True)
        pem = unquote_to_bytes(text)
        if not pem.startswith(_PEM):
            return None
        body = pem.removeprefix(_PEM).partition(b"-----END")[0]
        return b64decode(b"".join(body.split()), validate=True)
    except (ValueError, binascii.Error):
        return None


def _described(der: bytes) -> ClientCertificate | None:
    from cryptography import x509

    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ClientCertificate((f"sha256:{sha256(der).hexdigest()}",))
    except ValueError:
        return None
    return ClientCertificate(
        (
            f"sha256:{sha256(der).hexdigest()}",
            *(f"dns:{one}" for one in names.get_values_for_type(x509.DNSName)),
            *(f"email:{one}" for one in names.get_values_for_type(x509.RFC822Name)),
            *(f"uri:{one}" for one in names.get_values_for_type(x509.UniformResourceIdentifier)),
        )
    )
