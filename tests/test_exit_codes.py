"""Every error has a code, and it is the code that was promised."""

from __future__ import annotations

import pytest

from appliance import errors
from appliance.runs.exit_codes import EXIT_CODES, as_ours, exit_code, worst
from bundles.errors import BundleError, UnsupportedError


def subclasses(family: type[Exception]) -> set[type[Exception]]:
    below = {one for child in family.__subclasses__() for one in subclasses(child)}
    return {family} | below


@pytest.mark.parametrize("error", sorted(subclasses(errors.ApplianceError), key=str))
def test_every_error_of_ours_has_a_code_except_the_base(error: type[Exception]) -> None:
    if error is errors.ApplianceError:
        with pytest.raises(LookupError):
            exit_code(error("bare"))
    else:
        assert exit_code(error("said")) in {2, 3, 4, 5, 6, 7, 8, 9, 75}


@pytest.mark.parametrize("error", sorted(subclasses(BundleError), key=str))
def test_every_error_of_the_bundles_package_is_a_no_or_a_limit(error: type[Exception]) -> None:
    expected = 8 if issubclass(error, UnsupportedError) else 3
    assert exit_code(error("said")) == exit_code(as_ours(error("said"))) == expected


def test_the_table_is_the_specified_one() -> None:
    expected = {
        errors.ArgumentError: 2,
        errors.VerificationError: 3,
        errors.MalformedError: 3,
        errors.SignatureError: 3,
        errors.ProofError: 3,
        errors.DigestError: 3,
        errors.InflationError: 3,
        errors.DivergenceError: 4,
        errors.IncompleteError: 5,
        errors.StoreError: 6,
        errors.RemoteError: 7,
        errors.RefusedError: 8,
        errors.LimitError: 8,
        errors.ConfigError: 9,
        errors.LockedError: 75,
    }
    assert {one: exit_code(one("said")) for one in expected} == expected
    assert {code for code, _ in EXIT_CODES.values()} == set(expected.values())


def test_the_reasons_are_stable_words() -> None:
    for error in subclasses(errors.ApplianceError):
        reason = getattr(error, "default_reason", "")
        assert reason == reason.lower() and " " not in reason and reason


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], 0),
        ([0, 0], 0),
        ([7, 0], 7),
        ([7, 8], 8),
        ([8, 5], 5),
        ([5, 9], 9),
        ([9, 6], 6),
        ([6, 3], 3),
        ([3, 4], 4),
        ([4, 7, 3], 4),
    ],
)
def test_the_worst_outcome_wins(codes: list[int], expected: int) -> None:
    assert worst(codes) == expected


def test_a_foreign_exception_is_a_bug() -> None:
    with pytest.raises(LookupError):
        exit_code(KeyError("x"))
