"""The Sigstore trusted root: who may log, certify and stamp, and when.

Everything in it is believed, because the operator pinned it; so it is parsed strictly and
its digest goes into every verdict. Instances that ended stay, for what they once signed.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from appliance.errors import LimitError, MalformedError, RefusedError
from appliance.rekor.protojson import Message, top_message
from appliance.sigstore.root_keys import KEY_DETAILS_NUMBERS, PINNED, RootKey
from appliance.sigstore.validity import ALWAYS, Window, read_window
from appliance.tlog.foreign_files import TRUSTED_ROOT, foreign_file, foreign_object
from appliance.tlog.note_keys import KEY_ID_BYTES, VerifierKey
from appliance.tlog.strict_json import json_lines, parse_json
from appliance.value import frozen

MAX_ROOT_BYTES: Final = 2 * 1024 * 1024
MAX_ROOTS: Final = 16  # in one file, one a line
MAX_INSTANCES: Final = 256  # of each kind
MAX_CHAIN: Final = 16  # certificates of one authority
LOG_ID_BYTES: Final = 32
REVOKED: Final = "revoked"  # at this site
DROPPED: Final = "dropped"  # a trusted root named it once, and names it no more
_MEDIA_TYPES: Final = (
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
)
_FAMILY: Final = "application/vnd.dev.sigstore.trustedroot"


@frozen
class LogKey:
    """One instance of a log's key: transparency log or certificate transparency log."""

    log_id: bytes  # 32 bytes; what entries and SCTs name
    key_id: bytes  # 4 bytes before its checkpoint signatures
    origins: tuple[str, ...]  # what a v2 checkpoint may call the log
    key: RootKey
    valid: Window
    base_url: str = ""  # empty for a key the operator pinned
    operator: str = ""
    api_version: int = 0  # of Rekor, 1 or 2; 0: only the log id says
    state: str = ""  # REVOKED or DROPPED: it counts for nothing
    source: str = "trusted root"  # who says that this is a log's key
    max_size: int | None = None  # it was retired at that tree size; None: in force

    @property
    def may_promise(self) -> bool:
        """Whether this key may sign entry timestamps: that, and a clock, is Rekor v1's alone.

        The log id tells it, except for ECDSA keys, whose id is the same in both versions:
        they may, unless they are pinned as those of a v2 log.
        """
        if self.api_version:
            return self.api_version == 1
        return sha256(self.key.spki).digest() == self.log_id

    def __str__(self) -> str:
        return self.base_url or (self.origins[0] if self.origins else self.log_id.hex())


@frozen
class Authority:
    """One instance of a certificate or timestamp authority."""

    uri: str
    chain: tuple[bytes, ...]  # DER, the issuing (or stamping) certificate first, anchor last
    valid: Window

    def __str__(self) -> str:
        return self.uri or f"authority {sha256(self.chain[0]).hexdigest()[:16]}"


@frozen
class TrustedRoot:
    """A root that parsed. Its keys and certificates are still undecoded."""

    digest: str  # SHA-256 of the file, 64 hex digits
    logs: tuple[LogKey, ...]
    ct_logs: tuple[LogKey, ...]
    certificate_authorities: tuple[Authority, ...]
    timestamp_authorities: tuple[Authority, ...]


def parse_trusted_root(raw: bytes) -> TrustedRoot:
    """Parse a trusted_root.json.

    Raises MalformedError; RefusedError (media-type) for a newer version, several-roots for
    a file of one root a line; LimitError above 2 MiB, 256 instances of a kind or 16
    certificates in a chain.
    """
    if lines := json_lines(raw):
        raise RefusedError(
            f"expected one trusted root, got {len(lines)}, one a line",
            reason="several-roots",
            next_step="give each line a file of its own: split -l 1 FILE trusted_root.",
        )
    return _parse_root(raw)


def parse_trusted_roots(raw: bytes) -> tuple[TrustedRoot, ...]:
    """Parse a file of one trusted root, or of one a line (`gh attestation trusted-root`).

    They stay apart: whoever one of them trusts may not vouch for a signature of another.
    Raises as parse_trusted_root does.
    """
    if len(raw) > MAX_ROOT_BYTES:
        raise LimitError(f"trusted root: expected at most {MAX_ROOT_BYTES} bytes, got {len(raw)}")
    lines = json_lines(raw)
    if len(lines) > MAX_ROOTS:
        raise LimitError(f"expected at most {MAX_ROOTS} trusted roots, got {len(lines)}")
    return tuple(map(_parse_root, lines or [raw]))


def _parse_root(raw: bytes) -> TrustedRoot:
    if not raw.strip():
        raise MalformedError(
            "trusted root: the file is empty", next_step="get it again from where it came"
        )
    try:
        value = parse_json(raw, "trusted root", MAX_ROOT_BYTES)
    except MalformedError as error:
        raise foreign_file(raw, TRUSTED_ROOT) or error from error
    root = top_message(value, "trustedRoot", lenient=True)
    media_type = root.text("mediaType")
    if media_type not in _MEDIA_TYPES:
        message = f"trusted root: expected media type {_MEDIA_TYPES[0]}, got {media_type[:120]!r}"
        if media_type.startswith(_FAMILY):
            raise RefusedError(message, reason="media-type", next_step="update the appliance")
        other = foreign_object(root.fields, TRUSTED_ROOT)
        raise other or MalformedError(message, reason="media-type")
    return TrustedRoot(
        digest=sha256(raw).hexdigest(),
        logs=tuple(map(_read_log, root.messages("tlogs", MAX_INSTANCES))),
        ct_logs=tuple(map(_read_log, root.messages("ctlogs", MAX_INSTANCES))),
        certificate_authorities=_read_authorities(root, "certificateAuthorities"),
        timestamp_authorities=_read_authorities(root, "timestampAuthorities"),
    )


def pinned_log_key(
    key: VerifierKey, valid: Window = ALWAYS, api_version: int = 0, max_size: int | None = None
) -> LogKey:
    """Take a key the operator pinned for a log; its name is the origin of a v2 log."""
    return LogKey(
        log_id=key.log_id,
        key_id=key.key_id,
        origins=(key.name,),
        key=RootKey(key.spki, PINNED),
        valid=valid,
        api_version=api_version,
        source="pin",
        max_size=max_size,
    )


def _read_log(log: Message) -> LogKey:
    public_key = log.required_message("publicKey")
    log_id = log.required_message("logId").binary("keyId")
    if len(log_id) != LOG_ID_BYTES:
        raise MalformedError(
            f"{log.path}.logId.keyId: expected {LOG_ID_BYTES} bytes, got {len(log_id)}"
        )
    base_url = log.text("baseUrl")
    return LogKey(
        log_id=log_id,
        key_id=_checkpoint_key_id(log, log_id),
        origins=_origins(base_url, f"{log.path}.baseUrl"),
        key=RootKey(public_key.required_binary("rawBytes"), _key_details(public_key)),
        valid=read_window(public_key, start_required=True),
        base_url=base_url,
        operator=log.text("operator"),
    )


def _key_details(public_key: Message) -> str:
    details = public_key.enum("keyDetails", KEY_DETAILS_NUMBERS)
    if not details:
        raise MalformedError(f"{public_key.path}.keyDetails: missing")
    return details


def _checkpoint_key_id(log: Message, log_id: bytes) -> bytes:
    message = log.message("checkpointKeyId")
    if message is None:
        return log_id[:KEY_ID_BYTES]
    key_id = message.binary("keyId")
    # Documents disagree whether it is the key id or the whole hash of which that is the start.
    if len(key_id) not in (KEY_ID_BYTES, LOG_ID_BYTES):
        raise MalformedError(f"{message.path}.keyId: expected 4 or 32 bytes, got {len(key_id)}")
    return key_id[:KEY_ID_BYTES]


_PLAIN_HOST: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")
_PLAIN_PATH: Final = _PLAIN_HOST | {"/"}


def _origins(base_url: str, path: str) -> tuple[str, ...]:
    """Return what a checkpoint may call the log at this URL: host and path, no scheme."""
    scheme, _, rest = base_url.partition("://")
    host, slash, rest = rest.partition("/")
    if scheme == "https" and host and _PLAIN_HOST.issuperset(host) and _PLAIN_PATH.issuperset(rest):
        return (host + (slash + rest).rstrip("/"),)
    from urllib.parse import urlsplit  # for what is not written as all of them write it

    address = base_url if "://" in base_url else f"//{base_url}"
    try:
        parts = urlsplit(address)
        with_port, without = parts.netloc, parts.hostname or ""
    except ValueError as error:
        raise MalformedError(f"{path}: not a URL: {base_url[:120]!r}") from error
    suffix = parts.path.rstrip("/")
    return tuple(dict.fromkeys(host + suffix for host in (with_port, without) if host))


def _read_authorities(root: Message, name: str) -> tuple[Authority, ...]:
    return tuple(
        Authority(
            uri=message.text("uri"),
            chain=_read_chain(message.required_message("certChain")),
            valid=read_window(message, start_required=False),
        )
        for message in root.messages(name, MAX_INSTANCES)
    )


def _read_chain(chain: Message) -> tuple[bytes, ...]:
    certificates = tuple(
        message.required_binary("rawBytes") for message in chain.messages("certificates", MAX_CHAIN)
    )
    if not certificates:
        raise MalformedError(f"{chain.path}.certificates: missing")
    return certificates
