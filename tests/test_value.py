"""Frozen values: what the decorator promises, next to what dataclasses do."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass

import pytest

from appliance.value import field, field_names, frozen, replaced


@frozen(order=True)
class Place:
    level: int
    index: int
    width: int = 256

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"no width {self.width}")

    @property
    def is_full(self) -> bool:
        return self.width == 256


@frozen
class Basket:
    names: list[str] = field(default_factory=list)


@frozen
class Other:
    level: int
    index: int
    width: int = 256


@dataclass(frozen=True, slots=True, order=True)
class Reference:
    level: int
    index: int
    width: int = 256


def test_values_are_made_compared_and_shown_as_dataclasses_are() -> None:
    for arguments in ((1, 2), (1, 2, 3)):
        ours, theirs = Place(*arguments), Reference(*arguments)
        assert repr(ours) == repr(theirs).replace("Reference", "Place")
        assert hash(ours) == hash(theirs)
    assert Place(1, 2) == Place(level=1, index=2, width=256)
    assert Place(1, 2) != Place(1, 3)
    stranger: object = Other(1, 2)
    assert Place(1, 2) != stranger
    assert sorted([Place(2, 0), Place(1, 9), Place(1, 2)])[0] == Place(1, 2)
    assert Place(1, 2) <= Place(1, 2) < Place(1, 3) and Place(2, 0) >= Place(1, 9) > Place(1, 2)
    assert Place(0, 0).is_full and field_names(Place) == ("level", "index", "width")


def test_values_cannot_be_changed_and_have_no_other_attributes() -> None:
    place = Place(1, 2)
    for name in ("level", "colour"):
        with pytest.raises(AttributeError):
            setattr(place, name, 3)
    with pytest.raises(AttributeError):
        del place.level
    assert not hasattr(place, "__dict__")


def test_wrong_arguments_are_refused() -> None:
    for arguments, named in (
        ((1,), {}),
        ((1, 2, 3, 4), {}),
        ((1, 2), {"colour": 3}),
        ((1, 2), {"level": 3}),
    ):
        with pytest.raises(TypeError):
            Place(*arguments, **named)
    with pytest.raises(ValueError, match="no width 0"):
        Place(1, 2, 0)


def test_a_default_factory_makes_each_value_its_own() -> None:
    first, second = Basket(), Basket()
    first.names.append("x")
    assert second.names == []


def test_a_copy_with_changes_is_checked_again() -> None:
    assert replaced(Place(1, 2), index=7) == Place(1, 7)
    with pytest.raises(ValueError, match="no width"):
        replaced(Place(1, 2), width=0)


def test_values_survive_pickling_and_copying() -> None:
    for one in (Place(1, 2), Basket(["a"])):
        assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 our own bytes
        assert copy.deepcopy(one) == one
