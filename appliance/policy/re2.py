"""Patterns in RE2's syntax, as watch lists of Go programs hold them, for Python's `re`.

The two dialects look alike and differ silently: `$` of `re` also matches before a last
newline, `[[:alpha:]]` and `\\z` mean something else or nothing. So a pattern is parsed by
RE2's rules (its wiki, page Syntax) and written anew from what it means,
with every class spelled out; what cannot be written is refused by name. Only whether a text
is matched is kept, not where. How long a match may take is for whoever runs it.
"""

from __future__ import annotations

import re
from typing import Final

from appliance.errors import ConfigError
from appliance.value import frozen

MAX_PATTERN: Final = 4096  # characters
_MAX_REPEAT: Final = 1000  # RE2's own limit of a counted repetition
_LAST: Final = 0x10FFFF
_DIGIT: Final = ((0x30, 0x39),)
_WORD: Final = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACE: Final = ((0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20))
_PERL: Final = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_LETTER: Final = ((0x41, 0x5A), (0x61, 0x7A))
_POSIX: Final = {
    "alnum": (*_DIGIT, *_LETTER),
    "alpha": _LETTER,
    "ascii": ((0, 0x7F),),
    "blank": ((0x09, 0x09), (0x20, 0x20)),
    "cntrl": ((0, 0x1F), (0x7F, 0x7F)),
    "digit": _DIGIT,
    "graph": ((0x21, 0x7E),),
    "lower": ((0x61, 0x7A),),
    "print": ((0x20, 0x7E),),
    "punct": ((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)),
    "space": ((0x09, 0x0D), (0x20, 0x20)),
    "upper": ((0x41, 0x5A),),
    "word": _WORD,
    "xdigit": (*_DIGIT, (0x41, 0x46), (0x61, 0x66)),
}
_CONTROLS: Final = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_GROUPS: Final = {  # what stands after "(?", and what it is called
    "=": "a lookahead",
    "!": "a lookahead",
    "<=": "a lookbehind",
    "<!": "a lookbehind",
    "P=": "a back-reference",
    "P>": "a recursion",
    ">": "an atomic group",
    "#": "a comment",
    "|": "a branch reset",
    "(": "a conditional",
    "&": "a recursion",
    "R": "a recursion",
}
# Beyond ASCII, the only characters that differ from an ASCII letter in nothing but case.
_FOLDED: Final = {0x6B: 0x212A, 0x73: 0x17F}

Ranges = tuple[tuple[int, int], ...]  # of code points, both ends included


@frozen
class Pattern:
    """One pattern, parsed."""

    text: str  # as it was written
    python: str  # the same for `re`, to be compiled with re.ASCII
    prefix: str  # what every text that it matches begins with; empty: nothing is known


@frozen
class _Flags:
    fold: bool = False  # i
    lines: bool = False  # m
    dot_all: bool = False  # s


def translate(text: str) -> Pattern:
    """Parse a pattern that is to be compiled; raises as `parse`, and for one that `re` refuses."""
    found = parse(text)
    try:
        re.compile(found.python, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise _refused(text, f"it is too complicated: {error}") from error
    return found


def parse(text: str) -> Pattern:
    """Parse a pattern; raises ConfigError (bad-pattern) that names what is wrong or refused."""
    if len(text) > MAX_PATTERN:
        raise _refused(text, f"it is longer than {MAX_PATTERN:,} characters")
    return Pattern(text, *_Parser(text).pattern())


def _refused(text: str, why: str) -> ConfigError:
    return ConfigError(
        f"pattern {text[:80]!r}: {why}",
        reason="bad-pattern",
        next_step="write it in RE2's syntax; nothing that looks ahead, behind or back is in it",
    )


class _Parser:
    """One pass over a pattern; `at` is the next character."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.names: set[str] = set()

    def pattern(self) -> tuple[str, str]:
        found, prefix = self._alternatives(_Flags(), 0)
        if self.at < len(self.text):
            raise self._error("a ) without its (")
        return found, prefix

    def _alternatives(self, flags: _Flags, depth: int) -> tuple[str, str]:
        """Read up to the end of a group; flags that change in it hold up to its end."""
        if depth > 200:
            raise self._error("its groups are nested too deep")
        branches: list[str] = []
        items: list[str] = []
        literals: list[str] = []  # of the first branch, after an anchor; what must stand there
        anchored = is_prefix = False
        repeatable = False  # whether the last item is something that can be repeated
        while self.at < len(self.text):
            character = self.text[self.at]
            if character == ")":
                break
            self.at += 1
            if character == "|":
                branches.append("".join(items))
                items, repeatable, is_prefix = [], False, False
                literals = []
                continue
            if character in "*+?" or (character == "{" and self._counts()):
                if not repeatable:
                    raise self._error(f"nothing that {character} could repeat")
                items[-1] = f"(?:{items[-1]}){self._repetition(character)}"
                if is_prefix and literals:
                    literals.pop()
                is_prefix = repeatable = False
                continue
            if character == "(" and (changed := self._flags_alone(flags)) is not None:
                flags, repeatable = changed, False
                is_prefix = is_prefix and not changed.fold
                continue
            if character == "\\" and self.text.startswith("Q", self.at):
                for one in self._quoted():
                    items.append(self._literal(ord(one), flags))
                    repeatable = True
                    if is_prefix and not flags.fold:
                        literals.append(one)
                    is_prefix = is_prefix and not flags.fold
                continue
            first = not branches and not items and depth == 0
            item, literal = self._item(character, flags, depth)
            items.append(item)
            repeatable = True
            if first and item == r"\A":
                anchored = is_prefix = True
            elif is_prefix and literal is not None and not flags.fold:
                literals.append(literal)
            else:
                is_prefix = False
        whole = "|".join((*branches, "".join(items)))
        return whole, "".join(literals) if anchored and not branches else ""

    def _item(self, character: str, flags: _Flags, depth: int) -> tuple[str, str | None]:
        """Return one item for `re`, and the character it is if it is a literal one."""
        if character == "(":
            return self._group(flags, depth), None
        if character == "[":
            return self._class(flags), None
        if character == ".":
            return _class_text(((0, _LAST),) if flags.dot_all else ((0, 9), (11, _LAST))), None
        if character == "^":
            return (r"(?m:^)" if flags.lines else r"\A"), None
        if character == "$":
            return (r"(?m:$)" if flags.lines else r"\Z"), None
        if character == "\\":
            return self._escape(flags)
        return self._literal(ord(character), flags), character

    def _escape(self, flags: _Flags) -> tuple[str, str | None]:
        known = {"A": r"\A", "z": r"\Z", "b": r"\b", "B": r"(?!\b)"}
        character = self._next("an escape")
        if character in known:
            return known[character], None
        if character.lower() in _PERL:
            return _class_text(self._perl(character, flags)), None
        self.at -= 1
        code = self._escaped_character()
        return self._literal(code, flags), chr(code)

    def _escaped_character(self) -> int:
        """Read what stands after a backslash, if it is one character."""
        character = self._next("an escape")
        if character in _CONTROLS:
            return _CONTROLS[character]
        if character in "pP":
            raise self._error(f"\\{character}, a class of Unicode characters, is not supported")
        if character == "C":
            raise self._error("\\C, one byte, is not supported")
        if character in "01234567":
            digits = re.compile("[0-7]{0,2}").match(self.text, self.at)
            more = digits[0] if digits else ""
            if character != "0" and not more:
                raise self._error(f"\\{character}, a back-reference, is not in RE2")
            self.at += len(more)
            return int(character + more, 8)
        if character == "x":
            found = re.compile("[0-9A-Fa-f]{2}|[{]([0-9A-Fa-f]{1,8})[}]").match(self.text, self.at)
            if found is None or int(found[1] or "0", 16) > _LAST:
                raise self._error("\\x without the hex digits of a character")
            self.at = found.end()
            return int(found[1] or found[0], 16)
        if character.isascii() and not character.isalnum():
            return ord(character)
        raise self._error(f"the escape \\{character} is not in RE2")

    def _quoted(self) -> str:
        end = self.text.find("\\E", self.at + 1)
        quoted = self.text[self.at + 1 : None if end < 0 else end]
        self.at = len(self.text) if end < 0 else end + 2
        return quoted

    def _group(self, flags: _Flags, depth: int) -> str:
        if self.text.startswith("?", self.at):
            self.at += 1
            named = re.compile("P?<([A-Za-z_0-9]+)>").match(self.text, self.at)
            if named is not None:
                if named[1] in self.names:
                    raise self._error(f"two groups are called {named[1]}")
                self.names.add(named[1])
                self.at = named.end()
            else:
                flags = self._flags_of_group(flags)
                self.at += 1  # the colon
        found, _ = self._alternatives(flags, depth + 1)
        if self.at >= len(self.text):
            raise self._error("a ( without its )")
        self.at += 1
        return f"(?:{found})"

    def _flags_alone(self, flags: _Flags) -> _Flags | None:
        """Read flags that hold up to the end of the group; None: it is a group that begins."""
        if re.compile(r"\?[a-zA-Z-]*\)").match(self.text, self.at) is None:
            return None
        self.at += 1
        changed = self._flags_of_group(flags)
        self.at += 1  # the bracket
        return changed

    def _flags_of_group(self, flags: _Flags) -> _Flags:
        """Read flags up to the colon or bracket that ends them."""
        for start, name in _GROUPS.items():
            if self.text.startswith(start, self.at):
                raise self._error(f"{name}, (?{start}, is not in RE2")
        found = re.compile("([imsU]*)(?:-([imsU]+))?(?=[:)])").match(self.text, self.at)
        if found is None or (not found[0] and self.text[self.at] == ")"):
            raise self._error(f"(?{self.text[self.at : self.at + 8]} is no group of RE2")
        self.at = found.end()
        on, off = found[1], found[2] or ""
        return _Flags(
            "i" not in off and (flags.fold or "i" in on),
            "m" not in off and (flags.lines or "m" in on),
            "s" not in off and (flags.dot_all or "s" in on),
        )

    def _counts(self) -> bool:
        """Whether the brace just read begins a repetition; otherwise it stands for itself."""
        return re.compile(r"[0-9]+(,[0-9]*)?[}]").match(self.text, self.at) is not None

    def _repetition(self, character: str) -> str:
        found = character
        if character == "{":
            end = self.text.index("}", self.at)
            low, comma, high = self.text[self.at : end].partition(",")
            self.at = end + 1
            bounds = [int(one) for one in (low, high) if one]
            if max(bounds) > _MAX_REPEAT or (len(bounds) == 2 and bounds[0] > bounds[1]):
                raise self._error(f"the repetition {{{low}{comma}{high}}} is out of bounds")
            found = f"{{{low}{comma}{high}}}"
        if self.text.startswith("?", self.at):
            self.at += 1
        following = self.text[self.at : self.at + 1]
        if following in ("*", "+", "?") and following:
            raise self._error(f"a repetition of a repetition, {character}{following}")
        if following == "{":
            self.at += 1
            if self._counts():
                raise self._error(f"a repetition of a repetition, {character}{{")
            self.at -= 1
        return found

    def _class(self, flags: _Flags) -> str:
        negated = self.text.startswith("^", self.at)
        self.at += negated
        ranges: list[tuple[int, int]] = []
        is_first = True
        while True:
            if self.at >= len(self.text):
                raise self._error("a [ without its ]")
            if self.text[self.at] == "]" and not is_first:
                self.at += 1
                break
            is_first = False
            ranges += self._member(flags)
        found = _sorted(ranges)
        return _class_text(_complement(found) if negated else found)

    def _member(self, flags: _Flags) -> Ranges:
        """Read one character, range or named class of a class."""
        posix = re.compile(r"\[:(\^?)([^:\]]*):\]").match(self.text, self.at)
        if posix is not None:
            named = _POSIX.get(posix[2])
            if named is None:
                raise self._error(f"there is no class {posix[0]}")
            self.at = posix.end()
            folded = self._folded(named, flags)
            return _complement(folded) if posix[1] else folded
        following = self.text[self.at : self.at + 2]
        if following[0] == "\\" and following[1:].lower() in _PERL:
            self.at += 2
            return self._perl(following[1], flags)
        low = high = self._class_character()
        if self.text.startswith("-", self.at) and not self.text.startswith("-]", self.at):
            self.at += 1
            high = self._class_character()
        if low > high:
            raise self._error(f"the range {chr(low)}-{chr(high)} is backwards")
        return self._folded(((low, high),), flags)

    def _class_character(self) -> int:
        if self._next("a class") != "\\":
            return ord(self.text[self.at - 1])
        return self._escaped_character()

    def _perl(self, name: str, flags: _Flags) -> Ranges:
        folded = self._folded(_PERL[name.lower()], flags)
        return _complement(folded) if name.isupper() else folded

    def _literal(self, code: int, flags: _Flags) -> str:
        folded = self._folded(((code, code),), flags)
        return _class_text(folded) if len(folded) > 1 else _character(code)

    def _folded(self, ranges: Ranges, flags: _Flags) -> Ranges:
        """Add the other case of each letter, if case is not to matter."""
        if not flags.fold:
            return ranges
        more: list[tuple[int, int]] = list(ranges)
        for low, high in ranges:
            if high > 0x7F:
                raise self._error("(?i) with characters beyond ASCII is not supported")
            for lower in range(0x61, 0x7B):
                if low <= lower <= high or low <= lower - 32 <= high:
                    more += [(lower, lower), (lower - 32, lower - 32)]
                    if lower in _FOLDED:
                        more.append((_FOLDED[lower], _FOLDED[lower]))
        return _sorted(more)

    def _next(self, what: str) -> str:
        if self.at >= len(self.text):
            raise self._error(f"it ends inside {what}")
        self.at += 1
        return self.text[self.at - 1]

    def _error(self, why: str) -> ConfigError:
        return _refused(self.text, why)


def _sorted(ranges: list[tuple[int, int]]) -> Ranges:
    """Join ranges that touch."""
    joined: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if joined and low <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(high, joined[-1][1]))
        else:
            joined.append((low, high))
    return tuple(joined)


def _complement(ranges: Ranges) -> Ranges:
    found, start = [], 0
    for low, high in _sorted(list(ranges)):
        if start < low:
            found.append((start, low - 1))
        start = high + 1
    if start <= _LAST:
        found.append((start, _LAST))
    return tuple(found)


def _class_text(ranges: Ranges) -> str:
    if not ranges:
        return "(?!)"  # nothing is in it
    if ranges[-1][1] < _LAST:
        return f"[{_members(ranges)}]"
    # By what is not in it: `re` takes milliseconds to compile a range over all planes.
    outside = _complement(ranges)
    return f"[^{_members(outside)}]" if outside else r"[\s\S]"


def _members(ranges: Ranges) -> str:
    return "".join(
        _character(low) if low == high else f"{_character(low)}-{_character(high)}"
        for low, high in ranges
    )


def _character(code: int) -> str:
    """Write a character so that it means itself, in and outside of a class."""
    if code < 0x80:
        character = chr(code)
        return character if character.isalnum() else f"\\x{code:02x}"
    return f"\\U{code:08x}"


def quoted(text: str) -> str:
    """Return the pattern that matches a text and nothing else."""
    return re.sub(r"[\\.+*?()|\[\]{}^$]", lambda found: f"\\{found[0]}", text)
