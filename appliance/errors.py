"""Every exception the appliance raises on purpose.

Each family answers one question: whose fault is it, and what can be done.
Exit codes are not here; the command line gives them out in one table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class ApplianceError(Exception):
    """Something the operator has to know. Never raised bare: raise a family.

    `message` names the thing, what was expected and what came instead;
    `reason` is a stable kebab-case word for --json; `next_step` says what to do.
    """

    default_reason: ClassVar[str] = "error"

    def __init__(self, message: str, *, reason: str | None = None, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default_reason
        self.next_step = next_step


class VerificationError(ApplianceError):
    """The bytes are wrong."""

    default_reason = "verification"


class MalformedError(VerificationError):
    """The bytes are not in the one form they must have."""

    default_reason = "malformed"


class SignatureError(VerificationError):
    """A signature that had to verify does not."""

    default_reason = "signature"


class ProofError(VerificationError):
    """A Merkle proof, or a tile, does not lead to the root it must."""

    default_reason = "proof"


class DigestError(VerificationError):
    """Bytes do not have the digest by which they were named."""

    default_reason = "digest"


class InflationError(VerificationError):
    """Compressed bytes that become more than anything legitimate: made to exhaust us."""

    default_reason = "inflation"


class DivergenceError(ApplianceError):
    """A log signed two trees that cannot both be true.

    `evidence_id` names the row where both notes were made durable before this was raised.
    """

    default_reason = "divergence"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        next_step: str = "",
        evidence_id: int | None = None,
    ) -> None:
        super().__init__(message, reason=reason, next_step=next_step)
        self.evidence_id = evidence_id


class IncompleteError(ApplianceError):
    """We do not hold enough to say yes or no."""

    default_reason = "incomplete"


class ArgumentError(ApplianceError):
    """What was typed is not in the form it must have: a name, an id, a key, a value."""

    default_reason = "argument"


class StoreError(ApplianceError):
    """The store is full, corrupt, read-only, or from a newer version."""

    default_reason = "store"


class CorruptError(StoreError):
    """Our own tiles do not hash to what was proven: damage here, not an attack.

    `blobs` names what is damaged, `origin` the log it is of, if that is known where it is met;
    `is_told`: there is an alert of it.
    """

    default_reason = "corrupt"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        next_step: str = "",
        blobs: Sequence[str] = (),
        origin: str = "",
    ) -> None:
        super().__init__(message, reason=reason, next_step=next_step)
        self.blobs = tuple(blobs)
        self.origin = origin
        self.is_told = False


class RemoteError(ApplianceError):
    """A server could not be reached, or asked us to wait."""

    default_reason = "remote"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        next_step: str = "",
        retry_after: float | None = None,  # seconds the server asked us to wait
        nothing_sent: bool = False,  # there was no connection: the server cannot have acted
    ) -> None:
        super().__init__(message, reason=reason, next_step=next_step)
        self.retry_after = retry_after
        self.nothing_sent = nothing_sent


class RefusedError(ApplianceError):
    """A policy, ours or theirs, says no."""

    default_reason = "refused"


class LimitError(RefusedError):
    """Input that is larger, deeper or more numerous than this appliance takes.

    It says nothing against the input: nothing was judged.
    """

    default_reason = "limit"


class RestoredError(RefusedError):
    """A private log may not sign here: this home may not be the newest of what it signed.

    `evidence_id` names the row where both heads were made durable, if there were two.
    """

    default_reason = "restored"

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message, next_step=next_step)
        self.evidence_id: int | None = None


class MovedError(RestoredError):
    """A private log may not sign here: another server has it, or is about to."""


class ConfigError(ApplianceError):
    """The configuration contradicts itself or the schema."""

    default_reason = "config"


class LockedError(ApplianceError):
    """Another run holds the home's lock."""

    default_reason = "locked"
