"""What verify was asked beyond the artifact and its bundle: read once, recorded, asked again."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from appliance.errors import ApplianceError, MalformedError
from appliance.jobs.verify.log_trust import log_trust
from appliance.sigstore.case import NO_OPT_INS, OptIns
from appliance.sigstore.identity import CertificateIdentity, ExpectedSigner, ManagedKey
from appliance.sigstore.log_trust import LogTrust, settle_trust
from appliance.sigstore.trusted_root import TrustedRoot, parse_trusted_roots
from appliance.store.database import Store
from appliance.store.revoked_keys import revoked_keys
from appliance.tlog.tlog_policy import TlogPolicy, parse_tlog_policy
from appliance.value import frozen


@frozen
class Asked:
    """One question, without what it is about. What a site's settings demand is not in it."""

    expected: ExpectedSigner | None  # None: nobody, a tlog-proof of the file is the evidence
    given_root: bytes | None = None  # a trusted root, or one a line; None: the one in the store
    policy: bytes | None = None  # a C2SP tlog-policy
    require_mirror: bool = False
    require_proof: bool = False
    max_age: int | None = None  # seconds; 0: any; None: as set
    opt_ins: OptIns = NO_OPT_INS
    predicate_type: str = ""  # empty: any, or none


# Of what describe_demands writes. A member of a later version is none of ours.
_FORMS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("trustedRoot", "policy", "predicateType"), str),
    **dict.fromkeys(("requireMirror", "requireProof"), bool),
    **dict.fromkeys(("allowUnlogged", "allowSeveralEntries", "allowSubject"), bool),
    "maxAge": int,
}


def describe_signer(expected: ExpectedSigner) -> dict[str, Any]:
    """Return an expected signer as JSON that read_signer reads."""
    if isinstance(expected, ManagedKey):
        return {"key": b64encode(expected.spki).decode()}
    described = {
        "identity": expected.identity,
        "issuer": expected.issuer,
        "identityRegexp": expected.identity_regexp,
        "issuerRegexp": expected.issuer_regexp,
        "claims": dict(expected.claims),
    }
    return {name: one for name, one in described.items() if one}


def read_signer(described: Mapping[str, Any]) -> ExpectedSigner:
    """Read what describe_signer wrote; raises MalformedError."""
    try:
        if "key" in described:
            return ManagedKey(b64decode(described["key"], validate=True))
        if not all(isinstance(one, str) for name, one in described.items() if name != "claims"):
            raise ValueError("expected texts")
        if not all(isinstance(one, str) for one in described.get("claims", {}).values()):
            raise ValueError("expected a text for each claim")
        return CertificateIdentity(
            identity=described.get("identity", ""),
            issuer=described.get("issuer", ""),
            identity_regexp=described.get("identityRegexp", ""),
            issuer_regexp=described.get("issuerRegexp", ""),
            claims=described.get("claims", {}),
        )
    except (ApplianceError, ValueError, TypeError, AttributeError) as error:
        raise MalformedError(f"recorded signer: {error}") from error


def describe_demands(asked: Asked) -> dict[str, Any]:
    """Return all but the signer as JSON that read_asked reads; a given root by its digest."""
    described = {
        "trustedRoot": sha256(asked.given_root).hexdigest() if asked.given_root else "",
        "policy": b64encode(asked.policy).decode() if asked.policy else "",
        "requireMirror": asked.require_mirror,
        "requireProof": asked.require_proof,
        "maxAge": asked.max_age,
        "allowUnlogged": asked.opt_ins.unlogged,
        "allowSeveralEntries": asked.opt_ins.several_entries,
        "allowSubject": asked.opt_ins.leaf_subject,
        "predicateType": asked.predicate_type,
    }
    # An age of 0 is said: it is another question than none, which is as set.
    return {name: one for name, one in described.items() if one or (one == 0 and name == "maxAge")}


def read_asked(
    expected: Mapping[str, Any] | None, demands: Mapping[str, Any], given_root: bytes | None
) -> Asked:
    """Read what describe_signer (None: nobody) and describe_demands wrote.

    Raises MalformedError.
    """
    for name, one in demands.items():
        if not isinstance(one, _FORMS.get(name, object)):
            raise MalformedError(f"recorded {name}: expected another form, got {one!r:.80}")
    try:
        policy = b64decode(demands["policy"], validate=True) if "policy" in demands else None
    except ValueError as error:
        raise MalformedError(f"recorded policy: {error}") from error
    return Asked(
        None if expected is None else read_signer(expected),
        given_root,
        policy,
        require_mirror=demands.get("requireMirror", False),
        require_proof=demands.get("requireProof", False),
        max_age=demands.get("maxAge"),
        opt_ins=OptIns(
            demands.get("allowUnlogged", False),
            demands.get("allowSeveralEntries", False),
            demands.get("allowSubject", False),
        ),
        predicate_type=demands.get("predicateType", ""),
    )


def trust_of(store: Store | None, asked: Asked, stored_root: bytes | None) -> tuple[LogTrust, ...]:
    """Settle what to trust: under the root that was given, else the stored one, else pins alone.

    Of a file with several roots each is a trust by itself: what one of them trusts says nothing
    for a signature under another. Raises as parse_trusted_roots does.
    """
    raw = stored_root if asked.given_root is None else asked.given_root
    roots: tuple[TrustedRoot | None, ...] = parse_trusted_roots(raw) if raw is not None else (None,)
    # A root that is named is instead of the pins, not beside them.
    with_pins = asked.given_root is None
    return tuple(
        log_trust(store, root, with_pins=with_pins) if store else settle_trust(root, tuple, (), ())
        for root in roots
    )


def policy_of(store: Store | None, asked: Asked) -> TlogPolicy | None:
    """Parse the policy, without the witnesses whose keys were revoked here."""
    if asked.policy is None:
        return None
    policy = parse_tlog_policy(asked.policy)
    return policy if store is None else policy.without(revoked_keys(store))
