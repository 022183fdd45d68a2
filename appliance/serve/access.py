"""Who may ask a log: by a bearer token (RFC 6750) or by a certificate that a proxy verified.

A tokens file has a line for each client: a name, a space, and the SHA-256 of its token in hex.
The token itself is nowhere here: it has to be 32 random bytes or so, since nothing slows
down whoever tries to find it from its digest.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from appliance.errors import ConfigError
from appliance.serve.answers import Answer, ErrorCode, error_answer
from appliance.serve.proxies import ClientCertificate
from appliance.serve.requests import Request
from appliance.value import frozen

MAX_TOKENS_BYTES: Final = 1024 * 1024
UNAUTHENTICATED: Final = ErrorCode(401, 16)
FORBIDDEN: Final = ErrorCode(403, 7)
_LINE: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._@-]{0,99}) +([0-9a-f]{64})")
_SCHEME: Final = "bearer "


@frozen
class Token:
    """A client, and the SHA-256 of the token it shows."""

    client: str
    digest: bytes


@frozen
class AccessRule:
    """Who may write to a log, and whether it takes the same to read it."""

    tokens: tuple[Token, ...] = ()
    certificates: tuple[str, ...] = ()  # sha256:HEX, or dns:, email:, uri: and a name
    reads_restricted: bool = False

    @property
    def is_open(self) -> bool:
        """Whether anybody may write."""
        return not self.tokens and not self.certificates

    def asks(self, request: Request) -> bool:
        """Whether this request takes a caller that is known."""
        if self.is_open:
            return False
        return self.reads_restricted or request.method not in ("GET", "HEAD")

    def caller(self, request: Request, certificate: ClientCertificate | None) -> str:
        """Return who asks, by token or certificate; an empty string for nobody that is known."""
        named = certificate.known_as if certificate else ()
        for name in self.certificates:
            if name in named:
                return name
        return token_of(request, self.tokens)

    def refusal(self, request: Request) -> Answer:
        """Say no to somebody who is not known."""
        if not self.tokens:
            return error_answer(FORBIDDEN, "this log takes a client certificate that it knows")
        error = ', error="invalid_token"' if request.headers("Authorization") else ""
        challenge = ("WWW-Authenticate", f'Bearer realm="log"{error}')
        return error_answer(UNAUTHENTICATED, "this log takes a bearer token", (challenge,))


def token_of(request: Request, tokens: Iterable[Token]) -> str:
    """Return whose token a request shows; an empty string if it is nobody's.

    The time it takes tells nothing of the tokens: digests are compared, each to its end.
    """
    shown = request.headers("Authorization")
    if not shown.lower().startswith(_SCHEME):
        return ""
    digest = sha256(shown[len(_SCHEME) :].strip().encode("latin-1", "replace")).digest()
    found = ""
    for token in tokens:
        if hmac.compare_digest(digest, token.digest):
            found = token.client
    return found


def parse_tokens(text: str, source: str) -> tuple[Token, ...]:
    """Parse a tokens file; raises ConfigError, quoting nothing of it."""
    tokens: dict[str, Token] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line.strip())
        if found is None or found[1] in tokens:
            what = "a name, a space and 64 hex digits" if found is None else "each name once"
            raise ConfigError(
                f"{source}:{number}: expected {what}",
                reason="bad-tokens",
                next_step='write NAME and the output of: printf %s "$token" | sha256sum',
            )
        tokens[found[1]] = Token(found[1], bytes.fromhex(found[2]))
    if not tokens:
        raise ConfigError(
            f"{source} names nobody, so nobody could write",
            reason="bad-tokens",
            next_step="write a line for each client: a name and the SHA-256 of its token",
        )
    return tuple(tokens.values())
