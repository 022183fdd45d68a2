from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config.strict_yaml import (
    MAX_CHARACTERS,
    MAX_DEPTH,
    Mapping,
    Node,
    Sequence,
    parse_yaml,
)
from appliance.config.yaml_scalars import Scalar
from appliance.errors import ConfigError


def plain_values(node: Node) -> object:
    """The node as json.loads would have it."""
    if isinstance(node, Mapping):
        return {key: plain_values(value) for key, value in node.entries.items()}
    if isinstance(node, Sequence):
        return [plain_values(item) for item in node.items]
    return node.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing but words\n", None),
        ("---\n", None),
        ("a: 1\n", {"a": 1}),
        ("a: -1\nb: 0\n", {"a": -1, "b": 0}),
        ("a: 2.0\nb: -0.5\n", {"a": 2.0, "b": -0.5}),
        ("a: true\nb: false\n", {"a": True, "b": False}),
        ("a: null\nb: ~\nc:\n", {"a": None, "b": None, "c": None}),
        ("a: 'true'\nb: \"1\"\nc: 'off'\n", {"a": "true", "b": "1", "c": "off"}),
        ("a: [1, two, {b: c}]\n", {"a": [1, "two", {"b": "c"}]}),
        ("- 5m\n- 00:10:00\n- 1.02:03:04\n", ["5m", "00:10:00", "1.02:03:04"]),
        ("a: 127.0.0.1:3000\nb: log:25\n", {"a": "127.0.0.1:3000", "b": "log:25"}),
        ("a: 2026-01-15\n", {"a": "2026-01-15"}),
        ("a: off\n", {"a": "off"}),
        ('a: "\\u00e9 \\x41"\n', {"a": "é A"}),
        ("a: Zürich 🔑\n", {"a": "Zürich 🔑"}),
        ("\ufeffa: 1\n", {"a": 1}),
        ("a: 123456789012345678\n", {"a": 123456789012345678}),
        ("a: ''\n", {"a": ""}),
        ("a: >-\n  one\n  line\n", {"a": "one line"}),
    ],
)
def test_good_documents(text: str, value: object) -> None:
    assert plain_values(parse_yaml(text, "f")) == value


def test_everything_knows_its_line() -> None:
    root = parse_yaml("# c\na:\n  b:\n    - 1\n    - x: 2\n", "f")
    assert isinstance(root, Mapping)
    assert root.key_lines == {"a": 2}
    inner = root.entries["a"]
    assert isinstance(inner, Mapping)
    items = inner.entries["b"]
    assert isinstance(items, Sequence)
    assert items.items[0] == Scalar(1, 4, plain=True)
    assert items.items[1].line == 5


def test_only_a_bare_off_is_off() -> None:
    assert Scalar("off", 1, plain=True).is_off
    assert not Scalar("off", 1).is_off
    assert not Scalar("on", 1, plain=True).is_off


AMBIGUOUS = {
    "true or false to some": [
        *["yes", "no", "on", "y", "n", "Yes", "NO", "On", "oFF", "Off", "True", "TRUE", "False"],
    ],
    "nothing to some": ["Null", "NULL"],
    "a base-60 number to some": ["10:00", "1:30", "10:00:00", "-1:30", "00:10:00.5", "190:20:30"],
    "a number to some": [
        *["007", "010", "1_000", "+5", "-0", "0x1F", "0b11", "0o17", "1e3", "1.5e3", "1.", ".5"],
        *[".inf", "-.inf", ".nan", "+1.5", "01.5", "1234567890123456789", "1.1234567890"],
    ],
}


@pytest.mark.parametrize(
    ("word", "meaning"), [(word, why) for why, words in AMBIGUOUS.items() for word in words]
)
def test_words_yaml_readers_disagree_on_are_refused(word: str, meaning: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(f"# here\na: {word}\n", "site.yaml")
    expected = f"site.yaml:2: {word} is {meaning} YAML readers and text to others"
    assert caught.value.message == expected
    assert caught.value.reason == "ambiguous-yaml"
    assert "quote" in caught.value.next_step


BAD = {
    "duplicate key": ("a: 1\nb: 2\na: 3\n", "f:3: a is here twice, first on line 1"),
    "duplicate key, quoted": ("a: 1\n'a': 3\n", "f:2: a is here twice, first on line 1"),
    "duplicate in flow": ("{a: 1, a: 2}", "f:1: a is here twice, first on line 1"),
    "anchor": ("a: 1\nb: &x 1\n", "f:2: an anchor (&) is not accepted"),
    "anchor on a list": ("a: &x [1]\n", "f:1: an anchor (&) is not accepted"),
    "alias": ("a:\n - *x\n", "f:2: an alias (*) is not accepted"),
    "alias as key": ("*x : 1\n", "f:1: an alias (*) is not accepted"),
    "tag": ("a: !!python/name:os.system 1\n", "f:1: the tag tag:yaml.org,2002:python/name:os.s"),
    "own tag": ("a:\n  !x {b: 1}\n", "f:2: the tag !x is not accepted"),
    "two documents": ("a: 1\n---\nb: 2\n", "f:2: a second document is not accepted"),
    "number as key": ("1: a\n", "f:1: expected a name before the colon"),
    "null as key": ("~: b\n", "f:1: expected a name before the colon"),
    "off as key": ("off: b\n", "f:1: expected a name before the colon"),
    "on as key": ("on: b\n", "f:1: on is true or false to some YAML readers"),
    "list as key": ("[a]: b\n", "f:1: expected a name before the colon"),
    "mapping as key": ("? {a: b}\n: c\n", "f:1: expected a name before the colon"),
    "line break in text": ("a: |\n  one\n  two\n", "f:1: expected one line of printable text"),
    "escape character": ('x: 1\na: "\\e[31m"\n', "f:2: expected one line of printable text"),
    "surrogate": ('a: "\\ud800"\n', "f:1: expected one line of printable text"),
    "tab indent": ("a:\n\t b: 1\n", "f:2: found character '\\t' that cannot start any token"),
    "unclosed": ("a: [1,\n", "f:2: expected the node content"),
    "unclosed quote": ('a: "x\n', "f:2: found unexpected end of stream"),
    "control character": ("a: 1\nb: \x07\n", "f:2: a character YAML does not allow"),
    "lone surrogate": ("a: \ud800\n", "f:1: a character YAML does not allow"),
    "absurd escape": ('a: 1\nb: "\\UFFFFFFFF"\n', "f:2: not YAML"),
    "absurd version": ("%YAML " + "9" * 5000 + ".1\n---\na: 1\n", "f:1: not YAML"),
    "tab as value": ("a: 'x\ty'\n", "f:1: expected one line of printable text"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_documents(case: str) -> None:
    text, message = BAD[case]
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "f")
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("opened", "closed"), [("[", "]"), ("{a: ", "}"), ("- ", "")], ids=["list", "map", "block"]
)
def test_depth_is_bounded(opened: str, closed: str) -> None:
    parse_yaml(opened * MAX_DEPTH + "x" + closed * MAX_DEPTH, "f")
    with pytest.raises(ConfigError, match=r"^f:1: nested deeper than 12 levels"):
        parse_yaml(opened * (MAX_DEPTH + 1) + "x" + closed * (MAX_DEPTH + 1), "f")
    with pytest.raises(ConfigError, match=r"^f:1: nested deeper than 12 levels"):
        parse_yaml(opened * 20_000, "f")


def test_length_is_bounded() -> None:
    with pytest.raises(ConfigError, match="expected at most 262144 characters, got 262145"):
        parse_yaml("#" * (MAX_CHARACTERS + 1), "f")


YAML_LIKE = st.text("abn01:-?[]{},&*!|>'\"%@`#~\\xuU.\n \t/_", max_size=60)


@given(st.text(max_size=60) | YAML_LIKE)
def test_any_text_is_a_document_or_an_error_with_a_line(text: str) -> None:
    try:
        parse_yaml(text, "f")
    except ConfigError as error:
        file_name, line, _ = error.message.split(":", 2)
        assert file_name == "f"
        assert 1 <= int(line) <= text.count("\n") + text.count("\r") + 3
