"""Authorities that are named as single certificates: their paths, and how many are tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from cryptography import x509

from appliance.errors import LimitError, SignatureError
from appliance.sigstore import certificates
from appliance.sigstore.named_authorities import MAX_OF_A_NAME, MAX_PATHS, named_authorities
from appliance.sigstore.trusted_root import Authority
from appliance.sigstore.validity import Window
from tests.pki.authorities import (
    NOON,
    CtLog,
    Issuer,
    LeafPlan,
    certificate_der,
    issue,
    new_authority,
    new_key,
)


def der(issuers: Sequence[Issuer]) -> tuple[bytes, ...]:
    return tuple(certificate_der(one.certificate) for one in issuers)


def tried(
    monkeypatch: pytest.MonkeyPatch, roots: Sequence[Issuer], more: Sequence[Issuer], by: Issuer
) -> tuple[bool, int]:
    """Return whether a certificate issued `by` leads to a root, and how many paths were tried."""
    signer = issue(LeafPlan(), new_key(), by, CtLog())
    found = named_authorities(der(roots), der(more)).get(signer.issuer, ())
    real, paths = certificates.path_to, []

    def path_to(leaf: x509.Certificate, authority: Authority, *rest: object) -> object:
        paths.append(authority)
        return real(leaf, authority, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(certificates, "path_to", path_to)
        try:
            certificates.verify_path(signer, found, NOON)
        except SignatureError:
            return False, len(paths)
    return True, len(paths)


def test_a_certificate_is_tried_against_what_has_its_issuers_name_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    roots = [new_authority(f"root {at}") for at in range(32)]
    more = [new_authority(f"issuing {at}", roots[at]) for at in range(32)]
    assert tried(monkeypatch, roots, more, more[7]) == (True, 1)
    assert tried(monkeypatch, roots, more, roots[7]) == (True, 1)
    assert tried(monkeypatch, roots, more, new_authority("issuing 7")) == (False, 1)
    assert tried(monkeypatch, roots, more, new_authority("a stranger")) == (False, 0)
    assert tried(monkeypatch, roots[:7], more, more[7]) == (False, 0)  # its root is not named


def test_a_root_that_is_named_as_an_intermediate_too_makes_no_path_more() -> None:
    root = new_authority("root")
    issuing = new_authority("issuing", root)
    plain = named_authorities(der([root]), der([issuing]))
    assert named_authorities(der([root]), der([issuing, root])) == plain
    assert [len(paths) for paths in plain.values()] == [1, 1]


def test_intermediates_are_found_in_any_order_and_through_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = new_authority("root")
    upper = new_authority("upper", root)
    lower = new_authority("lower", upper)
    assert tried(monkeypatch, [root], [lower, upper], lower) == (True, 1)
    assert tried(monkeypatch, [root], [upper], lower) == (False, 0)
    assert tried(monkeypatch, [upper], [lower], lower) == (True, 1)  # who is named is believed


def test_an_expired_certificate_of_the_same_name_and_key_keeps_no_other_from_vouching(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, key = new_authority("root"), new_key()
    start, end = NOON - timedelta(days=800), NOON - timedelta(days=400)
    expired = new_authority("issuing", root, key=key, start=start, end=end)
    today = new_authority("issuing", root, key=key)
    assert tried(monkeypatch, [root], [expired, today], today) == (True, 2)


def test_nothing_is_built_for_an_authority_of_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    authorities = [
        Authority("", (certificate_der(new_authority(f"of a root {at}").certificate),), Window())
        for at in range(3)
    ]
    pinned = issue(LeafPlan(), new_key(), new_authority("nobody"), CtLog())
    itself = Authority("", (certificate_der(pinned),), Window())  # named whole, it is no path
    monkeypatch.setattr(certificates, "_path_policy", lambda: pytest.fail("a path was looked for"))
    with pytest.raises(SignatureError, match="none of its certificates issued it"):
        certificates.verify_path(pinned, authorities, NOON)
    monkeypatch.undo()
    assert certificates.verify_path(pinned, [*authorities, itself], NOON) == (pinned,)


def renewed(count: int) -> tuple[list[Issuer], list[Issuer]]:
    key = new_key()
    return [new_authority("renewed", key=key) for _ in range(count)], []


def certified_by_each_other(count: int) -> tuple[list[Issuer], list[Issuer]]:
    """Return a root and authorities each of which certified all others: no end of paths."""
    root = new_authority("root")
    first = [new_authority(f"bridge {at}", root) for at in range(count)]
    crossed = [
        new_authority(f"bridge {at}", other, key=one.key)
        for at, one in enumerate(first)
        for other in first
        if other is not one
    ]
    return [root], [*first, *crossed]


def test_as_many_as_are_tried_of_a_name_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    roots, more = renewed(MAX_OF_A_NAME)
    assert tried(monkeypatch, roots, more, new_authority("renewed")) == (False, MAX_OF_A_NAME)


@pytest.mark.parametrize(
    ("made", "count", "told"),
    [
        (
            renewed,
            MAX_OF_A_NAME + 1,
            "more than 16 paths to a root begin with the name 'CN=renewed'",
        ),
        (certified_by_each_other, 5, "more than 16 paths to a root begin with the name 'CN=bridge"),
    ],
)
def test_more_paths_are_a_limit_by_name(
    made: Callable[[int], tuple[list[Issuer], list[Issuer]]], count: int, told: str
) -> None:
    roots, more = made(count)
    with pytest.raises(LimitError, match=told) as raised:
        named_authorities(der(roots), der(more))
    assert "leave only the authorities" in raised.value.next_step


def test_all_paths_together_have_a_limit() -> None:
    roots = [new_authority("root", key=key) for key in [new_key()] for _ in range(8)]
    more = [new_authority(f"issuing {at}", roots[0]) for at in range(MAX_PATHS // 8)]
    with pytest.raises(LimitError, match="more than 256 paths to a root"):
        named_authorities(der(roots), der(more))
    assert len(named_authorities(der(roots), der(more[1:]))) == len(more)
