"""What came back: the facts of a response, its body, and the error its status means."""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from re import fullmatch
from typing import TYPE_CHECKING, Any, Final

from appliance.errors import InflationError, LimitError, MalformedError, RemoteError
from appliance.fetch.exchange import Exchange
from appliance.fetch.pacing import retry_after_seconds
from appliance.value import frozen

if TYPE_CHECKING:
    from appliance.fetch.incoming import Incoming

CLIENT_CERTIFICATE: Final = "wants a client certificate that it trusts"
# How nginx words it, and how a log of ours does.
_WANT_A_CERTIFICATE: Final = (b"SSL certificate", b"takes a client certificate")
SET_CERTIFICATE: Final = (
    "set http.clientCertificateFile and http.clientKeyFile to those that its operator gave you"
)
WANTS_USER: Final = "wants a user name and a password (407)"
SET_USER: Final = "write USER:PASSWORD into a file and name it in http.proxyCredentialsFile"
SET_BEARER: Final = (
    "of a log: write the token that its operator gave you into a file and name it in tokenFile of"
    " its backend (rekorSync.backends); nothing else is sent one"
)
LOOK_AT_IT: Final = (
    "look at that URL with a browser: a sign-in page, a proxy or an error page answers in its place"
)
MAX_ERROR_BYTES: Final = 64 * 1024  # of an error's body, which is only ever quoted
GZIP: Final = 16 + zlib.MAX_WBITS  # a gzip header and trailer, nothing else


@frozen
class ResponseFacts:
    """Who answered what. Kept with an incident, so that it can be told from a mix-up."""

    url: str
    status: int
    headers: tuple[tuple[str, str], ...]  # as sent; repeated ones stand together
    peer: str | None  # address and port; the proxy's, if there is one
    certificate: bytes | None  # the peer's, DER; None without TLS
    addresses: tuple[str, ...] = ()  # what the resolver said, in its order

    @property
    def described(self) -> dict[str, Any]:
        """All of it in JSON's types, for evidence."""
        certificate = self.certificate
        return {
            "url": self.url,
            "status": self.status,
            "headers": [list(header) for header in self.headers],
            "addresses": list(self.addresses),
            "peer": self.peer,
            "certificate": certificate and b64encode(certificate).decode(),
            "certificateSha256": certificate and sha256(certificate).hexdigest(),
        }

    @property
    def lower_headers(self) -> Mapping[str, str]:
        """The headers by lower-case name, the values of repeated ones joined."""
        joined: dict[str, str] = {}
        for name, value in self.headers:
            key = name.lower()
            joined[key] = f"{joined[key]}, {value}" if key in joined else value
        return joined


@frozen
class Response:
    """A whole response within its limits. Of an error only the body's beginning."""

    facts: ResponseFacts
    body: bytes  # decoded

    @property
    def status(self) -> int:
        """The HTTP status, 200 to 599."""
        return self.facts.status


def read_response(incoming: Incoming, exchange: Exchange, *, gzip_allowed: bool) -> Response:
    """Read a response, whose head is here, to its end; the caller closes it.

    Raises LimitError if the body, as sent or decoded, is over the exchange's limit,
    MalformedError if it is encoded in a way we did not ask for, and RemoteError if it is
    cut short. Without Content-Length and chunks the end of the connection is the end of
    the body: over TLS an attacker cannot forge that; without TLS only a reset shows, and
    the caller must recognize a short body by what it is to contain.
    """
    head = incoming.head
    facts = ResponseFacts(
        exchange.url,
        head.status,
        head.headers,
        exchange.peer,
        exchange.certificate,
        exchange.addresses,
    )
    length = _declared_length(facts.url, head.values)
    if not 200 <= facts.status < 300:
        return Response(facts, incoming.read(length, MAX_ERROR_BYTES)[:MAX_ERROR_BYTES])
    max_bytes = exchange.max_bytes
    encoding = head.values.get("content-encoding", "identity").lower()
    if encoding != "identity" and not (gzip_allowed and encoding == "gzip"):
        raise MalformedError(
            f"{facts.url}: the body came with Content-Encoding {encoding[:80]!r}, unasked for",
            reason="content-encoding",
            next_step="have the server or the proxy before it send the body as it is",
        )
    if length is not None and length > max_bytes:
        raise LimitError(f"{facts.url}: expected at most {max_bytes} bytes, {length} announced")
    body = incoming.read(length, max_bytes)
    if len(body) > max_bytes:
        raise LimitError(f"{facts.url}: expected at most {max_bytes} bytes, got more")
    return Response(facts, _gunzip(facts.url, body, max_bytes) if encoding == "gzip" else body)


def _declared_length(url: str, headers: Mapping[str, str]) -> int | None:
    """Return the Content-Length; raises RemoteError unless framing has one meaning."""
    length = headers.get("content-length")
    coding = headers.get("transfer-encoding")
    if length is None and (coding is None or coding.lower() == "chunked"):
        return None
    if coding is None and length is not None and fullmatch("[0-9]{1,18}", length):
        return int(length)
    raise RemoteError(
        f"{url}: expected one Content-Length, or else Transfer-Encoding chunked, "
        f"got {length!r:.80} and {coding!r:.80}",
        reason="bad-response",
    )


def _gunzip(url: str, body: bytes, max_bytes: int) -> bytes:
    """Decode exactly one gzip member that has at most `max_bytes` in it."""
    decoder = zlib.decompressobj(GZIP)
    try:
        data = decoder.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise MalformedError(f"{url}: the gzip body is damaged: {error}", reason="gzip") from error
    if len(data) > max_bytes:
        raise InflationError(f"{url}: expected at most {max_bytes} bytes, decodes to more")
    if not decoder.eof:
        raise MalformedError(f"{url}: the gzip body stops before its end", reason="gzip")
    if decoder.unused_data:
        raise MalformedError(
            f"{url}: {len(decoder.unused_data)} bytes follow the gzip body", reason="gzip"
        )
    return data


def first_words(body: bytes) -> str:
    """Return how a body begins, on one line."""
    return " ".join(body[:400].decode("utf-8", "replace").split())[:80]


def refuse_page(response: Response, expected: str) -> None:
    """Raise RemoteError (not-what-was-asked) if a page for people came instead of data.

    Networks that want somebody to sign in answer so in everybody's place, with status 200.
    """
    kind = response.facts.lower_headers.get("content-type", "none")
    if "html" in kind.lower() or response.body.lstrip()[:1] == b"<":
        raise RemoteError(
            f"{response.facts.url}: expected {expected}, got status {response.status},"
            f" Content-Type {kind[:80]!r}, beginning {first_words(response.body)!r}",
            reason="not-what-was-asked",
            next_step=LOOK_AT_IT,
        )


def status_error(response: Response) -> RemoteError:
    """Return what a status other than the wanted one means to whoever asked."""
    url, status, headers = response.facts.url, response.status, response.facts.lower_headers
    retry_after = retry_after_seconds(headers)
    if 300 <= status < 400:
        target = headers.get("location", "")
        return RemoteError(
            f"{url}: redirects ({status}) to {target[:200]!r}; redirects are not followed",
            reason="redirect",
            next_step="if that is where this is served now, configure it as the URL; a network"
            " that wants a sign-in first redirects so as well",
        )
    if status == 404:
        return RemoteError(f"{url}: not found", reason="not-found")
    if status == 429:
        return RemoteError(
            f"{url}: the server asks for fewer requests (429)",
            reason="rate-limited",
            next_step="try again later, or set maxRequestsPerSecond",
            retry_after=retry_after,
        )
    if status == 511:  # RFC 6585
        return RemoteError(
            f"{url}: the network wants a sign-in first (511)",
            reason="captive-portal",
            next_step=LOOK_AT_IT,
        )
    if status == 408 or (status >= 500 and status not in (501, 505)):
        return RemoteError(
            f"{url}: the server cannot answer now ({status})",
            reason="unavailable",
            next_step="try again later",
            retry_after=retry_after,
        )
    if status == 401:
        return RemoteError(
            f"{url}: the server asks who we are (401), and no token that it knows was sent",
            reason="unauthorized",
            next_step=SET_BEARER,
        )
    if status == 407:
        return RemoteError(f"{url}: the proxy {WANTS_USER}", reason="proxy", next_step=SET_USER)
    asks_for_it = any(one in response.body for one in _WANT_A_CERTIFICATE)
    if status == 496 or (status in (400, 403) and asks_for_it):
        # nginx has no status of its own on the wire for a certificate that is missing or bad.
        return RemoteError(
            f"{url}: the server {CLIENT_CERTIFICATE} ({status}): {first_words(response.body)!r}",
            reason="tls",
            next_step=SET_CERTIFICATE,
        )
    return RemoteError(f"{url}: expected status 200, got {status}", reason="http-status")
