"""verify: what is the same for every artifact of a run, then one answer for each artifact."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from appliance.config.durations import format_milliseconds
from appliance.errors import (
    ApplianceError,
    IncompleteError,
    RefusedError,
    StoreError,
)
from appliance.jobs.progress import ShowProgress, unseen
from appliance.jobs.verify.asked import Asked, policy_of, trust_of
from appliance.jobs.verify.judged import Answer
from appliance.jobs.verify.verify import verify_under, with_own_view
from appliance.runs.demands import demands_of
from appliance.runs.exit_codes import as_ours, naming
from appliance.runs.session import Session
from appliance.sigstore.attestation_files import (
    BUNDLE_SUFFIXES,
    MAX_FILE_BYTES,
    read_attestation_file,
)
from appliance.sigstore.case import NO_OPT_INS, OptIns
from appliance.sigstore.digests import (
    ArtifactDigests,
    digests_needed,
    parse_digest_argument,
    prefixes_needed,
)
from appliance.sigstore.identity import ExpectedSigner
from appliance.sigstore.logged_file import PROOF_START, judge_logged_file
from appliance.sigstore.sigstore_bundle import SigstoreBundle
from appliance.store.database import Store
from appliance.store.files import check_is_there, hash_artifact, read_given, size_of
from appliance.store.mirror.logs import all_logs
from appliance.store.transfer.unsigned import unsigned_imports
from appliance.store.verify.trust import StoredRoot, current_root
from appliance.times import age_text
from appliance.tlog.merkle import leaf_hash
from appliance.tlog.tlog_policy import MAX_POLICY_BYTES
from appliance.tlog.tlog_proof import parse_tlog_proof
from appliance.value import frozen

if TYPE_CHECKING:  # only who verifies an image needs it
    from appliance.jobs.verify.image_layout import Image, ImageLayout

MAX_ROOT_BYTES: Final = 2 * 1024 * 1024
MAX_UNREAD_TOLD: Final = 8  # attestations of one file that could not be read


@frozen
class VerifyOptions:
    """What is asked about every artifact."""

    expected: ExpectedSigner | None  # None: nobody, a tlog-proof of the file is the evidence
    trusted_root: Path | None = None  # None: the one in the store
    policy: Path | None = None  # a C2SP tlog-policy to require
    require_mirror: bool = False
    require_proof: bool = False  # a log's promise is not enough
    max_age: float | None = (
        None  # seconds since somebody last vouched for the log's head; None: as set
    )
    record: bool = False  # remember the verdicts
    opt_ins: OptIns = NO_OPT_INS  # what is refused otherwise
    predicate_type: str = ""  # what an attestation has to say it is; empty: any, or none


class Verifier:
    """The trust and the demands of one run; `answer` asks about one artifact."""

    def __init__(
        self, session: Session, options: VerifyOptions, store: Store | None, show: ShowProgress
    ) -> None:
        self._session, self._options, self._store = session, options, store
        self._show = show
        self._answers: list[Answer] = []
        self.stored_root: StoredRoot | None = None  # None: given as a file, or there is none
        if options.trusted_root is None and store is not None:
            self.stored_root = current_root(store)
        self._asked = _read_asked(options)
        with naming(options.trusted_root or "the trusted root imported last"):
            stored = self.stored_root.raw if self.stored_root else None
            self._trust = trust_of(store, self._asked, stored)
        with naming(options.policy):
            policy = policy_of(store, self._asked)
        self._demands = demands_of(session, self._asked, policy, has_store=store is not None)
        self.warnings = list(self._root_warnings())
        if store is not None and (unsigned := unsigned_imports(store)):
            self.warnings.append(str(unsigned))
        if store is None and session.is_home_named:
            self.warnings.append(
                f"no store at {session.home}: nothing was compared with a copy of a log; look at"
                " the name of the home"
            )

    @property
    def root_age(self) -> int | None:
        """Seconds since the stored trusted root was imported; None if none is in use."""
        if self.stored_root is None:
            return None
        return max(self._session.now() - self.stored_root.imported_at, 0)

    def answer(self, artifact: str, bundle_path: Path | None) -> Answer:
        """Verify one artifact against its bundle; what is wrong is in the answer."""
        try:
            answer = self._answer(artifact, bundle_path)
        except ApplianceError as error:
            answer = Answer(artifact, bundle_path, None, as_ours(error, prefix=f"{artifact}: "))
        return self._kept(answer)

    def _kept(self, answer: Answer) -> Answer:
        if self._options.record or _contradicts(answer):
            self._answers.append(answer)  # without need a stream of answers is not kept
        return answer

    def answer_images(self, directory: Path) -> Iterator[Answer]:
        """Answer about each image in an OCI layout: signed, and every part of it as signed.

        Raises RefusedError if it is no layout, IncompleteError if it has no image.
        """
        from appliance.jobs.verify.image_layout import ImageLayout

        layout = ImageLayout(directory)
        for image in layout.images():
            artifact = f"{image.name or directory}@{image.digest}"
            try:
                answer = self._answer_image(layout, image, artifact, directory)
            except ApplianceError as error:
                answer = Answer(artifact, directory, None, as_ours(error, prefix=f"{artifact}: "))
            yield self._kept(answer)

    def _answer_image(
        self, layout: ImageLayout, image: Image, artifact: str, directory: Path
    ) -> Answer:
        digests = parse_digest_argument(image.digest)
        if digests is None:
            raise RefusedError(
                f"expected a sha256 digest, got {image.digest[:100]!r}", reason="digest-algorithm"
            )
        if not image.bundles and layout.has_old_signatures:
            raise IncompleteError(
                "no Sigstore bundle refers to it, only signatures as cosign 1 and 2 stored them",
                reason="no-bundle",
                next_step="sign it with cosign 3, which attaches a bundle, and copy it with what"
                " refers to it",
            )
        if not image.bundles:
            raise IncompleteError(
                "no Sigstore bundle refers to it",
                reason="no-bundle",
                next_step="copy it with what refers to it: oras copy --recursive",
            )
        layout.check_parts(image.digest)
        # One file of all of them, as if they had come together.
        raw = b"[" + b",".join(image.bundles) + b"]"
        return self._judged(artifact, directory, raw, lambda _: digests)

    def take_warnings(self) -> list[str]:
        """Return the warnings since they were last taken."""
        found, self.warnings = self.warnings, []
        return found

    def finish(self) -> Iterator[str]:
        """Keep contradictions as evidence and, if asked, the verdicts; yield warnings.

        The answers stand whether or not that succeeds.
        """
        found = [answer for answer in self._answers if answer.verdict is not None]
        contradicts = any(map(_contradicts, found))
        if not (contradicts or self._options.record):
            return
        # Only now: what remembers and alerts is a sixth of the start of a verify.
        from appliance.runs.verdicts import keep_contradictions, record_answers

        if contradicts:
            yield from keep_contradictions(self._session, found)
        if self._options.record and self._asked.expected is None:
            yield "tlog-proofs are not recorded: they are not the verdict on a signature"
        elif self._options.record:
            yield from record_answers(self._session, self._asked, found)

    def _answer(self, artifact: str, bundle_path: Path | None) -> Answer:
        raw = _read_bundle(artifact, bundle_path)
        if raw.startswith(PROOF_START):
            return self._answer_proof(artifact, bundle_path, raw)
        expected = self._expected()
        return self._judged(
            artifact,
            bundle_path,
            raw,
            lambda bundles: _digests_of(artifact, bundles, expected, self._show),
        )

    def _answer_proof(self, artifact: str, proof_path: Path | None, raw: bytes) -> Answer:
        """Answer about a file by a tlog-proof: a log holds its bytes as an entry."""
        if self._options.expected is not None or self._options.predicate_type:
            raise RefusedError(
                f"{proof_path} is a tlog-proof: it proves that a log holds the file, and nothing of"
                " who signed it",
                reason="no-signature",
                next_step="ask without --key, --certificate-… and --predicate-type, with --policy"
                " FILE; or give the Sigstore bundle",
            )
        if parse_digest_argument(artifact) is not None:
            raise IncompleteError(
                "a tlog-proof is of the file's bytes; we hold only a digest",
                reason="digest-algorithm",
                next_step="give the file itself instead of a digest",
            )
        with naming(proof_path):
            proof = parse_tlog_proof(raw)
        content = read_given(Path(artifact), MAX_FILE_BYTES)
        digests = ArtifactDigests({"sha256": sha256(content).digest()})
        pinned = [key for log in all_logs(self._store) for key in log.keys] if self._store else []
        found = judge_logged_file(
            proof, leaf_hash(content), str(digests), pinned, self._demands.policy
        )
        verdict = with_own_view(self._store, found, self._demands)
        error = verdict.error
        if error is not None:
            error = as_ours(error, prefix=f"{artifact}: ")
        return Answer(artifact, proof_path, verdict, error)

    def _expected(self) -> ExpectedSigner:
        if self._options.expected is None:
            raise RefusedError(
                "a Sigstore bundle needs to be told who should have signed",
                reason="no-signer",
                next_step="give --key FILE, or --certificate-identity and"
                " --certificate-oidc-issuer",
            )
        return self._options.expected

    def _judged(
        self,
        artifact: str,
        bundle_path: Path | None,
        raw: bytes,
        hash_for: Callable[[Sequence[SigstoreBundle]], ArtifactDigests],
    ) -> Answer:
        with naming(bundle_path):
            file = read_attestation_file(raw)
        self.warnings += [
            f"{artifact}: {bundle_path}: passed over what could not be read: {one.message}"
            for one in file.unread[:MAX_UNREAD_TOLD]
        ]
        digests = hash_for(file.bundles)
        verdict = verify_under(
            self._store, self._trust, file.bundles, digests, self._expected(), self._demands
        )
        error = verdict.error
        if error is not None:
            error = as_ours(error, prefix=f"{artifact}: ")
        return Answer(artifact, bundle_path, verdict, error, digests, raw)

    def _root_warnings(self) -> Iterator[str]:
        """Warn about an old trusted root; raises RefusedError for one that is too old."""
        age = self.root_age
        if age is None:
            return
        settings = self._session.configuration
        limit = settings.optional_seconds("verify.maxTrustRootAge.fail")
        if limit is not None and age > limit:
            raise RefusedError(
                f"the trusted root was imported {age_text(age)} ago, "
                f"at most {format_milliseconds(1000 * limit)} allowed",
                reason="trust-root-stale",
                next_step="attestor trust import a newer trusted_root.json",
            )
        if limit is not None:
            self._session.clock.require_known()
        warn = settings.optional_seconds("verify.maxTrustRootAge.warn")
        if warn is not None and age > warn:
            yield f"the trusted root was imported {age_text(age)} ago"


@contextlib.contextmanager
def verifying(
    session: Session, options: VerifyOptions, show: ShowProgress = unseen
) -> Iterator[Verifier]:
    """Yield what verifies; without a store the Sigstore half is left. `show` is for large files."""
    with contextlib.ExitStack() as stack:
        store: Store | None = None
        try:
            store = stack.enter_context(session.reading())
        except StoreError as error:
            if error.reason != "no-store":
                raise
        yield Verifier(session, options, store, show)


def _read_asked(options: VerifyOptions) -> Asked:
    root, policy = options.trusted_root, options.policy
    return Asked(
        options.expected,
        None if root is None else read_given(root, MAX_ROOT_BYTES),
        None if policy is None else read_given(policy, MAX_POLICY_BYTES),
        require_mirror=options.require_mirror,
        require_proof=options.require_proof,
        max_age=None if options.max_age is None else math.ceil(options.max_age),
        opt_ins=options.opt_ins,
        predicate_type=options.predicate_type,
    )


_LARGE_BYTES: Final = 64 * 1024 * 1024  # hashing takes long enough to be looked at

# What lies beside an artifact in place of a bundle, and how cosign makes one of what is its own.
_OF_COSIGN: Final = {
    ".sig": "cosign bundle create --signature FILE.sig --certificate FILE.pem",
    ".att": "cosign bundle create --attestation FILE.att",
}
_SIGNATURES: Final = (*_OF_COSIGN, ".asc", ".minisig", ".p7s", ".sign")


def _contradicts(answer: Answer) -> bool:
    from appliance.policy.own_view import Coverage

    verdict = answer.verdict
    return verdict is not None and verdict.own_view.coverage is Coverage.CONTRADICTION


def _read_bundle(artifact: str, path: Path | None) -> bytes:
    """Read an artifact's Sigstore bundle; raises IncompleteError if there is none."""
    if path is not None:
        return read_given(path, MAX_FILE_BYTES)
    if parse_digest_argument(artifact) is not None:
        raise IncompleteError(
            f"{artifact} is a digest, and no Sigstore bundle was named for it",
            reason="no-bundle",
            next_step="name it with --bundle",
        )
    check_is_there(Path(artifact))
    name = Path(artifact).name
    step = f"name one with --bundle, or put it there as {name}.sigstore.json"
    other = next(
        (one for one in _SIGNATURES if os.path.isfile(artifact + one)),  # noqa: PTH113
        "",
    )
    if other in _OF_COSIGN:
        step = (
            f"make one of {name}{other} where there is a network: {_OF_COSIGN[other]}"
            f" --artifact {name} --out {name}.sigstore.json"
        )
    elif whose := _whose_bundle(artifact):
        step = f"it is named like the bundle of {whose}: verify that, which finds it"
    elif other:
        step = f"{name}{other} is another tool's signature: ask for a Sigstore bundle"
    raise IncompleteError(
        f"{artifact} has no Sigstore bundle beside it", reason="no-bundle", next_step=step
    )


def _whose_bundle(name: str) -> str:
    """Return the file that a bundle of this name would be of, if it is there; else empty.

    As a pattern of the shell names both, in a directory where they lie side by side.
    """
    whole = (name.removesuffix(suffix) for suffix in BUNDLE_SUFFIXES if name.endswith(suffix))
    return next((one for one in whole if os.path.isfile(one)), "")  # noqa: PTH113


def _digests_of(
    artifact: str,
    bundles: Sequence[SigstoreBundle],
    expected: ExpectedSigner,
    show: ShowProgress,
) -> ArtifactDigests:
    """Hash an artifact once with all its bundles need, or take the digest it was given as."""
    given = parse_digest_argument(artifact)
    if given is not None:  # whatever lies here under that name: whoever put it there chose it
        return given
    needed = frozenset().union(*(digests_needed(bundle, expected) for bundle in bundles))
    prefixes = frozenset().union(*(prefixes_needed(bundle, expected) for bundle in bundles))
    path = Path(artifact)
    total = size_of(path) if os.path.isfile(path) else 0  # noqa: PTH113 a name may be too long
    if total < _LARGE_BYTES:
        return ArtifactDigests(*hash_artifact(path, needed, prefixes))
    with show("verify") as progress:
        progress.stage(f"hashing {path.name}", lambda: total, n_bytes=True)
        return ArtifactDigests(*hash_artifact(path, needed, prefixes, progress))
