"""What a word in a YAML file is: text, number, true, false or nothing.

YAML has no single answer: `no` is a boolean to one reader and a country to the next, and
`10:00` is 600. Where readers of YAML 1.1 and 1.2 differ, the word is refused.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from appliance.errors import ConfigError
from appliance.value import frozen

ScalarValue: TypeAlias = str | int | float | bool | None

_WORDS: Final[dict[str, ScalarValue]] = {
    "true": True,
    "false": False,
    "null": None,
    "~": None,
    "": None,
}
_TRUTH: Final = frozenset({"yes", "no", "on", "off", "y", "n", "true", "false"})
_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,17}")
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,8})\.[0-9]{1,9}")
# `00:10:00` is text to every reader: YAML 1.1 wants the first digit of base 60 to be 1 to 9.
_BASE_60: Final = re.compile(
    r"[-+]?(?:[1-9][0-9_]*(?::[0-5]?[0-9])+|[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*)"
)
_OTHER_NUMBERS: Final = re.compile(
    r"""[-+]?(?:
        [0-9][0-9_]*                             # 007, 1_000, +5, or too long
      | 0b[01_]+ | 0o[0-7]+ | 0x[0-9A-Fa-f_]+
      | (?:[0-9][0-9_]*)?\.[0-9_]+(?:[eE][-+]?[0-9]+)?
      | [0-9][0-9_]*\.?(?:[eE][-+]?[0-9]+)?      # 1e3, 1.
      | \.(?:inf|Inf|INF|nan|NaN|NAN)
    )""",
    re.VERBOSE,
)


@frozen
class Scalar:
    """One value of a file, and where it stands."""

    value: ScalarValue
    line: int  # from 1
    plain: bool = False  # written without quotes

    @property
    def is_off(self) -> bool:
        """Whether it is the bare word off, which is a value to some keys and an error to others."""
        return self.plain and self.value == "off"


def parse_plain_scalar(word: str) -> ScalarValue:
    """Return what an unquoted word means.

    `off` comes back as text: keys that can be switched off accept it. Raises ConfigError
    (reason ambiguous-yaml) for a word that YAML readers do not agree on.
    """
    if word in _WORDS:
        return _WORDS[word]
    if _INTEGER.fullmatch(word):
        return int(word)
    if _DECIMAL.fullmatch(word):
        return float(word)
    if word.lower() in _TRUTH and word != "off":
        raise _ambiguous(word, "true or false to some", "write true or false, or quote it")
    if word.lower() == "null":
        raise _ambiguous(word, "nothing to some", "write null, or quote it")
    if _BASE_60.fullmatch(word):
        raise _ambiguous(word, "a base-60 number to some", f'quote it: "{word[:40]}"')
    if _OTHER_NUMBERS.fullmatch(word):
        raise _ambiguous(
            word, "a number to some", "write a plain decimal number, or quote it if it is text"
        )
    return word


def _ambiguous(word: str, meaning: str, next_step: str) -> ConfigError:
    return ConfigError(
        f"{word[:40]} is {meaning} YAML readers and text to others",
        reason="ambiguous-yaml",
        next_step=next_step,
    )
