"""The grammar beyond what is declared today: odd messages, and declarations that contradict themselves."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.codec import Dialect, Message, NotCarried, text
from ibbridge.codec.layout import carried, edges, resolve
from ibbridge.codec.messages import MESSAGES
from ibbridge.codec.schema import (
    Bool,
    Const,
    DeclarationError,
    Each,
    Float,
    Inline,
    Int,
    Mask,
    Masked,
    Of,
    Part,
    Present,
    Record,
    Rows,
    Spread,
    Str,
    Swap,
    TagValues,
    When,
    Word,
    both,
    inbound,
    one_of,
    positive,
    request,
)
from ibbridge.codec.schema import given as is_given
from tests.support.declared import differences
from tests.support.strategies import canonical

POINT = Record("Point", (Int("x", 1), Str("label", 2)))
BAR = Record("Bar", (Float("open", 1), Str("date", 2)), full=True)
FLAGS = Mask("Flags", ("a", "b", "c"))
MARKED = Record("Marked", (Masked("marks", FLAGS, 1), Int("n", 2)))
DEEP = Record("Deep", (Part("inner", Record("Inner", (Part("core", POINT),))),))

ODD = inbound(
    150,
    "odd",
    Int("reqId", 1),
    Word("word", 2),
    Str("kind", 3, absent=None, default=None, always=True),
    Rows("points", POINT, 4),
    Rows("numbers", Int("n").type, 5),  # type: ignore[arg-type]
    TagValues("tags", 6),
    Float("extra", 7),
    Part("place", POINT, 8, optional=True),
    Part("marked", MARKED, 9),
    Part("bar", BAR, 10),
    Part("deep", DEEP),
    Part("deep.inner.core", POINT, 11),
    Int("deep.inner.core.x", 12),
    Spread("spread", Record("Spread", (Int("y", 13), Str("z", 14)))),
    Masked("flags", FLAGS, 15),
    text=(
        "reqId word kind flags",
        When(
            both(is_given("kind"), positive("reqId")),
            (
                Const("x"),
                Each("points", ("x label",)),
                Each("numbers"),
                When(one_of("kind", "more"), ("extra", Each("tags"), Const(""))),
            ),
        ),
        Present("place", ("x label",)),
        Of("marked", ("marks n",)),
        Of("bar", ("date open",)),
        "deep.inner.core.x deep.inner.core.label spread.y spread.z",
    ),
    proto=210,
)

ASKED = request(
    151,
    "reqOdd",
    Int("reqId", 1, required=True),
    Str("kind", 2),
    Masked("marks", FLAGS, 3),
    Part("place", POINT, 4, optional=True),
    Str("why", 5),
    TagValues("tags", 6),
    Str("note", 7),
    Inline(8, (Bool("inline", 1),)),
    text=(
        "reqId kind marks",
        When(
            is_given("kind"),
            (
                "why",
                Const("c"),
                Present("place", ("x label",)),
                When(one_of("kind", "deep"), (Const("c"), "note")),
                Each("tags"),
            ),
        ),
        "inline",
    ),
    proto=210,
)


def odd(version: int) -> tuple[Dialect, Dialect]:
    return Dialect(version, [ASKED], [ODD]), Dialect(version, [ODD], [ASKED])


@pytest.mark.parametrize("version", [200, 201])
@given(data=st.data())
def test_an_odd_message_is_read_back(version: int, data: Any) -> None:
    server, client = odd(version)
    sent = data.draw(canonical(ODD, version))
    got = client.read(server.write("odd", sent)[4:])
    assert isinstance(got, Message), got
    assert not list(differences(sent, got.data))


@pytest.mark.parametrize("version", [200, 226])
@given(data=st.data())
def test_an_odd_request_is_read_back(version: int, data: Any) -> None:
    server, client = odd(version)
    sent = data.draw(canonical(ASKED, version))
    got = server.read(client.write("reqOdd", sent)[4:])
    assert isinstance(got, Message), got
    assert not list(differences(sent, got.data))


@pytest.mark.parametrize("place", [None, {}, {"x": 5}])
def test_an_optional_record_of_a_message_in_protobuf(place: Any) -> None:
    server, client = odd(226)
    sent = {"reqId": 1, "place": place, "flags": {"c": True}, "marked": {"marks": {"a": True}}, "spread": {"y": 1}}
    got = client.read(server.write("odd", sent)[4:])
    assert isinstance(got, Message)
    assert {name: got.data[name] for name in sent} == sent
    assert got.data["kind"] is None
    assert got.data["bar"] == {"open": 0.0, "date": ""}


@pytest.mark.parametrize("core", [{}, {"x": 5, "label": "here"}])
def test_a_field_whose_place_in_the_data_is_deep_in_protobuf(core: dict[str, Any]) -> None:
    server, client = odd(226)
    got = client.read(server.write("odd", {"deep": {"inner": {"core": core}}})[4:])
    assert isinstance(got, Message)
    assert got.data["deep"] == ({"inner": {"core": core}} if core else {})


@pytest.mark.parametrize("marks", [{"d": True}, {"a": 1}, ["a"], 5])
def test_flags_of_a_request_are_checked(marks: Any) -> None:
    for version in (200, 226):
        with pytest.raises(NotCarried, match="marks"):
            odd(version)[1].write("reqOdd", {"reqId": 1, "marks": marks})


def test_everything_in_a_block_that_is_not_sent_is_refused() -> None:
    blocked = {"why": "w", "place": {"x": 1}, "note": "n", "tags": [{"tag": "a", "value": "b"}]}
    with pytest.raises(NotCarried) as refusal:
        odd(200)[1].write("reqOdd", {"reqId": 1, **blocked})
    assert refusal.value.faults == (
        "why is only sent when kind is not empty",
        "place is only sent when kind is not empty",
        "note is only sent when kind is not empty",
        "tags is only sent when kind is not empty",
    )
    with pytest.raises(NotCarried, match="note is only sent when kind is deep"):
        odd(200)[1].write("reqOdd", {"reqId": 1, "kind": "x", "note": "n"})


def test_a_condition_looks_through_an_optional_record_that_is_not_there() -> None:
    asked = request(
        152,
        "reqPlaced",
        Part("place", POINT, optional=True),
        Int("n"),
        text=(Present("place", ("x label",)), When(positive("place.x"), ("n",))),
        proto=None,
    )
    client = Dialect(200, [], [asked])
    assert client.write("reqPlaced", {"place": None}) == client.write("reqPlaced", {})
    with pytest.raises(NotCarried, match="n is only sent when"):
        client.write("reqPlaced", {"n": 1})


def test_words_are_read_in_any_case_or_as_numbers() -> None:
    read = text.reader(inbound(1, "m", Word("w"), text="w", proto=None), 201, lambda _: None)
    assert [read([word, ""])["w"] for word in ("true", "True", "TRUE", "1", "2")] == [True] * 5
    assert [read([word, ""])["w"] for word in ("false", "FALSE", "0", "")] == [False] * 4
    with pytest.raises(ValueError, match="yes"):
        read(["yes", ""])


# -- a server that says what cannot be said ---------------------------------------------------------------------------


def test_a_server_cannot_send_a_nul_in_a_text_field() -> None:
    with pytest.raises(ValueError, match="NUL"):
        Dialect.server(200).write("managedAccounts", {"accountsList": "DU1\0DU2"})


def test_a_flag_is_zero_or_one() -> None:
    assert Dialect.client(200).check("reqHeadTimeStamp", _head(True))["useRTH"] == 1
    for wrong in (2, -1, "1", 1.0):
        with pytest.raises(NotCarried, match="useRTH must be 0 or 1"):
            Dialect.client(200).check("reqHeadTimeStamp", _head(wrong))


def _head(use_rth: Any) -> dict[str, Any]:
    return {"reqId": 1, "contract": {}, "whatToShow": "TRADES", "useRTH": use_rth}


# -- declarations that contradict themselves --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "fault"),
    [
        ("reqID", "m has no field reqID"),
        ("reqId.x", "m: reqId in reqId.x is no record"),
        (("place.y",), "Point has no field y"),
        (None, "m has no text form"),
    ],
)
def test_a_layout_that_names_what_is_not_there_says_so(layout: Any, fault: str) -> None:
    message = inbound(1, "m", Int("reqId"), Part("place", POINT), text=layout, proto=None)
    with pytest.raises(DeclarationError, match=fault):
        resolve(message, 200)


def test_a_record_is_no_text_field() -> None:
    message = inbound(1, "m", Part("place", POINT), text="place", proto=None)
    with pytest.raises(DeclarationError, match="place cannot be one text field"):
        text.reader(message, 200, lambda _: None)


def test_a_kind_without_a_field_says_so() -> None:
    message = inbound(1, "m", Int("n"), text="n", proto=None, kind=("type", frozenset((1,))))
    with pytest.raises(LookupError, match="type"):
        text.place_of(message, 200)


def test_what_does_not_exist_carries_nothing() -> None:
    message = inbound(1, "m", Int("n"), text="n", proto=None, since=200)
    assert carried(message, 199) == frozenset()
    assert edges(message) == [200, 201]


def test_a_declaration_is_shown_by_its_name() -> None:
    assert repr(MESSAGES["tickPrice"]) == "<tickPrice>"
    assert repr(ASKED) == "<reqOdd>"


def test_a_swap_that_loses_nothing_needs_no_say() -> None:
    asked = request(1, "m", Int("n", 1), text=None, proto=201, swap=Swap(lambda _: None, lambda data: data))
    assert Dialect(226, [], [asked]).write("m", {"n": 5})[4:] == (201).to_bytes(4, "big") + b"\x08\x05"
