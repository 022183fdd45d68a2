"""Frozen value classes that cost a start next to nothing.

The standard library's dataclass compiles each method of each class anew, at every start:
with eighty classes that was half of the time a verify took. Here all classes share the
same few functions. What is offered is what is used: annotated fields in order, defaults,
positional and keyword arguments, __post_init__, equality, hash, order, repr, slots, and no
assignment. Type checkers see a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar, cast, dataclass_transform, overload

T = TypeVar("T")

_FIELDS = "__value_fields__"


class Factory:
    """A default made anew for each value; write it with `field`."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], T]) -> T:
    """Give a field a default that is made anew for each value that needs it."""
    return cast(T, Factory(default_factory))


@overload
def frozen(cls: type[T], /) -> type[T]: ...
@overload
def frozen(*, order: bool = False) -> Callable[[type[T]], type[T]]: ...


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[T] | None = None, /, *, order: bool = False) -> Any:
    """Make a class of annotated fields a frozen value class with slots."""
    if cls is None:
        return lambda it: _build(it, order=order)
    return _build(cls, order=order)


def field_names(cls: type) -> tuple[str, ...]:
    """Return the names of a value class's fields, in order."""
    return cast("tuple[str, ...]", getattr(cls, _FIELDS))


def is_value(it: object) -> bool:
    """Whether something is of a frozen value class."""
    return hasattr(type(it), _FIELDS)


def replaced(it: T, **changes: Any) -> T:
    """Return a copy of a value with some fields changed; checks them as construction does."""
    kept = {name: getattr(it, name) for name in field_names(type(it)) if name not in changes}
    return type(it)(**kept, **changes)


def _build(cls: type[T], *, order: bool) -> type[T]:
    annotations = cls.__annotations__.items()
    names = tuple(name for name, kind in annotations if not str(kind).startswith("ClassVar"))
    defaults = {name: cls.__dict__[name] for name in names if name in cls.__dict__}
    body = {
        name: attribute
        for name, attribute in cls.__dict__.items()
        if name not in defaults and name not in ("__dict__", "__weakref__")
    }
    body["__slots__"] = names
    body[_FIELDS] = names
    body["__match_args__"] = names
    setters: list[Callable[[Any, Any], None]] = []
    body["__init__"] = _initializer(
        cls.__qualname__, names, defaults, setters, "__post_init__" in body
    )
    key: Callable[[Any], Any] = attrgetter(*names) if names else lambda it: ()
    body.setdefault("__eq__", _equality(key))
    body.setdefault("__hash__", lambda self: hash(key(self)))
    body.setdefault("__repr__", _repr)
    body["__setattr__"] = body["__delattr__"] = _refuse
    body["__getstate__"] = lambda self: tuple(getattr(self, name) for name in names)
    body["__setstate__"] = _restore
    if order:
        body["__lt__"] = lambda self, other: key(self) < key(other)
        body["__le__"] = lambda self, other: key(self) <= key(other)
        body["__gt__"] = lambda self, other: key(self) > key(other)
        body["__ge__"] = lambda self, other: key(self) >= key(other)
    built = type(cls.__name__, cls.__bases__, body)
    setters.extend(built.__dict__[name].__set__ for name in names)
    return cast("type[T]", built)


def _initializer(
    class_name: str,
    names: tuple[str, ...],
    defaults: dict[str, Any],
    setters: list[Callable[[Any, Any], None]],  # of the slots, which are made later
    has_check: bool,
) -> Callable[..., None]:
    count = len(names)

    def complete(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        if len(args) > count:
            raise TypeError(f"{class_name} takes {count} values, {len(args)} were given")
        values = list(args)
        for name in names[len(args) :]:
            if name in kwargs:
                one = kwargs.pop(name)
            elif name in defaults:
                one = defaults[name]
                if type(one) is Factory:
                    one = one.make()
            else:
                raise TypeError(f"{class_name} needs a value for {name}")
            values.append(one)
        if kwargs:
            raise TypeError(f"{class_name} has no {', '.join(kwargs)}, or has it twice")
        return values

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        values = args if len(args) == count and not kwargs else complete(args, kwargs)
        for put, one in zip(setters, values, strict=True):
            put(self, one)
        if has_check:
            self.__post_init__()

    return __init__


def _equality(key: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    def __eq__(self: Any, other: object) -> Any:
        if type(other) is not type(self):
            return NotImplemented
        return key(self) == key(other)

    return __eq__


def _repr(self: Any) -> str:
    fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in field_names(type(self)))
    return f"{type(self).__qualname__}({fields})"


def _refuse(self: Any, name: str, *_: Any) -> None:
    raise AttributeError(f"{type(self).__qualname__} is a value: {name} cannot be changed")


def _restore(self: Any, state: tuple[Any, ...]) -> None:
    for name, one in zip(field_names(type(self)), state, strict=True):
        object.__setattr__(self, name, one)
