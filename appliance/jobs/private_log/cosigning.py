"""Have the witnesses of a log of ours cosign what it signed, before it is published.

A witness that does not answer costs a batch `witness.timeout` once, and is left alone for half
a minute; if the quorum needs it, it is asked each time. Whatever it answers is verified under
the key that the log's policy has for it, or it is nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final, Protocol

from appliance.errors import ApplianceError, RemoteError
from appliance.tlog.checkpoint import SignedCheckpoint
from appliance.tlog.merkle import Hash
from appliance.tlog.note import NoteSignature
from appliance.tlog.note_keys import VerifierKey
from appliance.tlog.tlog_policy import NO_QUORUM, TlogPolicy, Witness
from appliance.tlog.witness_request import WitnessRequest, cosignature_of, with_cosignatures
from appliance.value import frozen

SILENCE_SECONDS: Final = 30.0  # a witness that failed is left alone for so long
COSIGNED: Final = "cosigned"
COSIGNATURES: Final = "attestor_log_cosignatures_total"
QUORUM: Final = "quorum"

# The consistency proof from an older size to the checkpoint that is to be cosigned.
Prove = Callable[[int], tuple[Hash, ...]]
Cosign = Callable[[SignedCheckpoint, Prove], SignedCheckpoint]


class Answered(Protocol):
    """What a witness answered, unverified."""

    @property
    def status(self) -> int:
        """The HTTP status."""

    @property
    def body(self) -> bytes:
        """Signature lines, if the status is 200."""

    @property
    def size(self) -> int | None:
        """What it says it cosigned last, if it does."""


Ask = Callable[[Witness, bytes, float], Answered]  # witness, request, seconds; raises RemoteError


@frozen
class Asked:
    """What came of asking one witness."""

    witness: str  # its name in the policy
    outcome: str  # cosigned, ahead, refused, unreachable, bad-answer or no-proof
    message: str = ""


def uncosigned(checkpoint: SignedCheckpoint, _: Prove) -> SignedCheckpoint:
    """Ask nobody."""
    return checkpoint


class Cosigners:
    """The witnesses of one log, as they were when they were last asked."""

    def __init__(
        self, ask: Ask, tell: Callable[[Asked], None], monotonic: Callable[[], float]
    ) -> None:
        self._ask = ask
        self._tell = tell
        self._monotonic = monotonic
        self._sizes: dict[VerifierKey, int] = {}  # what each cosigned last, if it is known
        self._silent_until: dict[VerifierKey, float] = {}

    def cosign(
        self, policy: TlogPolicy, checkpoint: SignedCheckpoint, prove: Prove, seconds: float
    ) -> SignedCheckpoint:
        """Return a checkpoint with the cosignatures that came within `seconds`.

        Until the quorum of the policy is met, or without one until all have answered.
        """
        deadline = self._monotonic() + seconds
        found: dict[VerifierKey, NoteSignature] = {}
        asked = self._whom(policy)
        if not asked:
            return checkpoint
        executor = ThreadPoolExecutor(len(asked), "witness")
        try:
            waiting: dict[Future[Answered], tuple[Witness, bool]] = {}
            for witness in asked:
                self._send(executor, waiting, witness, checkpoint, prove, deadline)
            while waiting and not _is_enough(policy, found):
                left = deadline - self._monotonic()
                done, _ = wait(waiting, max(0.0, left), FIRST_COMPLETED)
                if not done:
                    break
                for future in done:
                    witness, was_told = waiting.pop(future)
                    size = self._take(future, witness, checkpoint, found)
                    if size is None:
                        continue
                    if was_told or size > checkpoint.head.tree_size:
                        self._failed(witness, "ahead", f"it says that it cosigned {size:,} entries")
                        continue
                    self._sizes[witness.key] = size
                    self._send(
                        executor, waiting, witness, checkpoint, prove, deadline, was_told=True
                    )
            for witness, _ in waiting.values():
                if not _is_enough(policy, found):
                    self._failed(witness, "unreachable", f"no answer within {seconds:g} s")
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
        lines = [found[one.key] for one in policy.witnesses if one.key in found]
        return with_cosignatures(checkpoint, lines)

    def _whom(self, policy: TlogPolicy) -> list[Witness]:
        reachable = [witness for witness in policy.witnesses if witness.url]
        now = self._monotonic()
        awake = [one for one in reachable if self._silent_until.get(one.key, now) <= now]
        is_enough = policy.quorum_met([one.key for one in awake])
        return awake if is_enough else reachable

    def _send(
        self,
        executor: ThreadPoolExecutor,
        waiting: dict[Future[Answered], tuple[Witness, bool]],
        witness: Witness,
        checkpoint: SignedCheckpoint,
        prove: Prove,
        deadline: float,
        *,
        was_told: bool = False,
    ) -> None:
        size = min(self._sizes.get(witness.key, 0), checkpoint.head.tree_size)
        try:
            # Here and not in the thread: the store belongs to ours.
            proof = prove(size)
        except ApplianceError as error:
            self._failed(witness, "no-proof", error.message)
            return
        request = bytes(WitnessRequest(size, proof, checkpoint.note))
        seconds = max(0.01, deadline - self._monotonic())
        waiting[executor.submit(self._ask, witness, request, seconds)] = witness, was_told

    def _take(
        self,
        future: Future[Answered],
        witness: Witness,
        checkpoint: SignedCheckpoint,
        found: dict[VerifierKey, NoteSignature],
    ) -> int | None:
        """Take what a witness answered; return the size it is at, if that was all it said."""
        try:
            answer = future.result()
            if answer.status == 409 and answer.size is not None:
                return answer.size
            if answer.status != 200:
                text = answer.body[:200].decode("utf-8", "replace").strip()
                self._failed(witness, "refused", f"it answered {answer.status}: {text}")
                return None
            line = cosignature_of(checkpoint, answer.body, witness.key)
        except RemoteError as error:
            self._failed(witness, "unreachable", error.message)
        except ApplianceError as error:
            self._failed(witness, "bad-answer", error.message)
        else:
            found[witness.key] = line
            self._sizes[witness.key] = checkpoint.head.tree_size
            self._silent_until.pop(witness.key, None)
            self._tell(Asked(witness.name, COSIGNED))
        return None

    def _failed(self, witness: Witness, outcome: str, message: str) -> None:
        self._silent_until[witness.key] = self._monotonic() + SILENCE_SECONDS
        self._tell(Asked(witness.name, outcome, message))


def _is_enough(policy: TlogPolicy, found: dict[VerifierKey, NoteSignature]) -> bool:
    return policy.quorum != NO_QUORUM and policy.quorum_met(list(found))
