"""Text from outside on a terminal and in a log: shown, not obeyed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.cli import status
from ibbridge.cli.text import block, fields, line
from ibbridge.client import Message
from ibbridge.monitoring.printable import printable, printable_lines

ANY_TEXT = st.text(st.characters(codec=None))
HOSTILE = "\x1b]0;owned\x07\x1b[2J\r\nforged: \u202e\x9b1m\x7f"


@given(ANY_TEXT)
def test_no_control_character_is_left_and_no_line_break(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_what_can_be_read_stays_as_it_is(text: str) -> None:
    assert printable(f"{text} and more") == f"{text} and more"


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb", "a\\nb"),
        ("\x9b", "\\x9b"),
        ("\u202e", "\\u202e"),
        ("\udcff", "\\udcff"),
        ("Ü", "Ü"),
    ],
)
def test_what_cannot_is_written_as_python_would(given_text: str, shown: str) -> None:
    assert printable(given_text) == shown


def test_a_long_text_is_cut_and_its_length_said() -> None:
    assert printable("x" * 100, 10) == "xxxxxxxxxx ... (100 characters in all)"


def test_lines_stay_lines() -> None:
    assert printable_lines("one\n\x1btwo") == "one\n\\x1btwo"


@given(ANY_TEXT, ANY_TEXT)
def test_what_sub_and_call_print_is_one_line_whatever_is_in_it(name: str, value: str) -> None:
    message = Message(f"sys.{name}", {"type": "t", "data": {name: value, "n": {name: value}}, "flags": [value]})
    assert line(message).isprintable()
    assert all(each.isprintable() for each in block(message).split("\n"))
    assert fields({name: value}).isprintable()


def test_status_shows_what_others_have_said_and_does_not_obey_it() -> None:
    tws = {"host": "h", "port": 1, "clientId": 1, "stage": "down", "since": 1, "lastError": HOSTILE, "failures": 1}
    tws |= {"serverVersion": 200, "connectionTime": HOSTILE, "upstream": HOSTILE, "farms": {HOSTILE: HOSTILE}}
    about = {"version": "1", "pid": 1, "uptime": 1, "published": 1, "requests": 1, "orders": 1, "counts": {}}
    about |= {"tws": {**tws, "accounts": [HOSTILE]}, "halt": {"client": HOSTILE, "reason": HOSTILE}}
    about |= {"alarms": [{"alarm": "x", "why": HOSTILE}], "store": {"fault": HOSTILE}, "record": {"fault": HOSTILE}}
    for row in status.page(about, "ipc:///x"):
        assert row.isprintable(), row
