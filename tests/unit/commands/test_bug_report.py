from __future__ import annotations

import msgpack
import pytest

from ibbridge.commands.bug_report import LONGEST, form, report

SECRET = "hunter2"


def test_the_form_of_a_command_has_its_names_and_no_value():
    command = {"id": 7, "cmd": "placeOrder", "args": {"order": {"account": SECRET, "lmtPrice": 1.5, "transmit": True}}}
    assert form(msgpack.packb(command)) == (
        "{id: int, cmd: str(10), args: {order: {account: str(7), lmtPrice: float, transmit: True}}}"
    )


def test_a_list_is_told_by_its_first_element():
    assert form(msgpack.packb({"orders": [{"key": "a"}, {"key": "b"}], "none": []})) == (
        "{orders: list(2) of {key: str(1)}, none: list(0)}"
    )


def test_bytes_that_are_no_command_are_counted():
    assert form(b"\xc1\xc1") == "2 bytes that cannot be unpacked"


def test_a_form_is_bounded():
    command = msgpack.packb({f"x{number}{'x' * 100}": number for number in range(500)})
    text = form(command)
    assert len(text) < LONGEST + 60
    assert text.endswith(f"({len(command)} bytes in all)")
    assert "x" * 41 not in text


def test_a_name_that_no_command_has_may_be_a_secret_too():
    assert form(msgpack.packb({"cmd": "x", "correct-horse": 1})) == "{cmd: str(1), ?: int}"


def test_a_bug_is_told_by_its_kind_and_place_and_not_by_its_text():
    with pytest.raises(KeyError) as caught:
        dict[str, int]()[SECRET]
    told = report(msgpack.packb({"cmd": SECRET}), caught.value)
    assert told.startswith("KeyError in ")
    assert "test_bug_report.py" in told
    assert told.endswith("the command: {cmd: str(7)}")
    assert SECRET not in told
