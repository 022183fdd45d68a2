"""Fields of proto3 JSON messages, in both dialects."""

from __future__ import annotations

from typing import Any

import pytest

from appliance.errors import LimitError, MalformedError
from appliance.rekor.protojson import MAX_INT64, Message, top_message


def strict(**fields: Any) -> Message:
    return Message("top", fields)


def lenient(**fields: Any) -> Message:
    return Message("top", fields, lenient=True)


@pytest.mark.parametrize("message", [strict(), strict(aField=None)])
def test_missing_and_null_are_unset(message: Message) -> None:
    assert message.message("aField") is None
    assert message.messages("aField", 3) == ()
    assert message.binaries("aField", 3) == ()
    assert message.text("aField") == ""
    assert message.binary("aField") == b""
    assert message.integer("aField") == 0
    for required in (message.required_message, message.required_text, message.required_binary):
        with pytest.raises(MalformedError, match=r"^top\.aField: missing$"):
            required("aField")


@pytest.mark.parametrize(
    ("value", "expected"),
    [("0", 0), ("17", 17), (17, 17), (str(MAX_INT64), MAX_INT64), (MAX_INT64, MAX_INT64)],
)
def test_integers_are_decimal_strings_or_numbers(value: Any, expected: int) -> None:
    assert strict(n=value).integer("n") == expected


@pytest.mark.parametrize(
    "value",
    [
        *["-1", "+1", "01", "1.0", " 1", "1 ", "1_0", "0x1", "", "\N{ARABIC-INDIC DIGIT ONE}"],
        *[-1, 1.0, True, [], {}, str(MAX_INT64 + 1), MAX_INT64 + 1, 10**30, "9" * 100],
    ],
)
def test_other_integers_are_malformed(value: Any) -> None:
    with pytest.raises(MalformedError, match=r"^top\.n: expected an integer"):
        strict(n=value).integer("n")


@pytest.mark.parametrize("text", ["AAEC", "AA\nEC", "AAEC\r\n"])
def test_base64_may_have_line_breaks(text: str) -> None:
    assert strict(b=text).binary("b") == b"\0\1\2"


@pytest.mark.parametrize("text", ["AAE", "AAE_", "AA E=", "AAF=AAF=", "AAEC=", "\u0101AEC"])
def test_other_base64_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError, match=r"^top\.b: not (canonical )?base64"):
        strict(b=text).binary("b")


@pytest.mark.parametrize("text", ["+/8=", "-_8=", "+/8", "-_8", "-/8"])
def test_the_lenient_dialect_reads_every_base64(text: str) -> None:
    assert lenient(b=text).binary("b") == b"\xfb\xff"


def test_the_lenient_dialect_reads_snake_case_and_passes_it_on() -> None:
    message = lenient(hashed_rekord_request_v002={"x509_certificate": {"raw_bytes": "AA"}})
    request = message.required_message("hashedRekordRequestV002")
    assert request.required_message("x509Certificate").binary("rawBytes") == b"\0"
    assert strict(raw_bytes="AA==").binary("rawBytes") == b""


def test_a_field_under_both_names_is_malformed() -> None:
    with pytest.raises(MalformedError, match=r"top\.rawBytes: given twice"):
        lenient(raw_bytes="AA", rawBytes="AA").binary("rawBytes")
    assert lenient(raw_bytes=None, rawBytes="AA").binary("rawBytes") == b"\0"


def test_unknown_fields_are_refused_on_request() -> None:
    lenient(raw_bytes="", keyDetails="").refuse_unknown({"rawBytes", "keyDetails"})
    with pytest.raises(MalformedError, match="top: unknown field 'other'"):
        lenient(other=1).refuse_unknown({"rawBytes"})


def test_exactly_one_member_of_a_oneof() -> None:
    assert strict(a=1, b=None).only_of("a", "b") == "a"
    with pytest.raises(MalformedError, match="expected one of a, b, got none"):
        strict().only_of("a", "b")
    with pytest.raises(MalformedError, match="got a and b"):
        strict(a=1, b=2).only_of("a", "b")


def test_lists_are_bounded_and_typed() -> None:
    assert [one.path for one in strict(m=[{}, {}]).messages("m", 2)] == ["top.m[0]", "top.m[1]"]
    assert strict(b=["AA==", "AQ=="]).binaries("b", 2) == (b"\0", b"\1")
    with pytest.raises(LimitError, match=r"top\.m: expected at most 1, got 2"):
        strict(m=[{}, {}]).messages("m", 1)
    with pytest.raises(MalformedError, match=r"top\.m: expected an array, got an object"):
        strict(m={}).messages("m", 1)
    with pytest.raises(MalformedError, match=r"top\.m\[0\]: expected an object, got null"):
        strict(m=[None]).messages("m", 1)
    with pytest.raises(MalformedError, match=r"top\.b\[0\]: expected base64, got true or false"):
        strict(b=[True]).binaries("b", 1)


def test_messages_say_what_was_there() -> None:
    with pytest.raises(MalformedError, match=r"top\.t: expected a string, got an array"):
        strict(t=[]).text("t")
    with pytest.raises(MalformedError, match=r"top\.t: expected a string, got 5"):
        strict(t=5).text("t")
    with pytest.raises(MalformedError, match=r"top\.m: expected an object, got 'aaa"):
        strict(m="a" * 1000).message("m")
    with pytest.raises(MalformedError, match=r"^bundle: expected an object, got 1\.5"):
        top_message(1.5, "bundle")
    assert top_message({}, "bundle").fields == {}
