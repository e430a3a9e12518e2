from __future__ import annotations

from ibbridge.security.room import Room


def test_up_to_the_bound_nobody_goes():
    room = Room(3)
    assert [room.enter(each) for each in (1, 2, 3)] == [None, None, None]
    assert not room.is_full


def test_the_oldest_that_has_said_nothing_goes_for_a_new_one():
    room = Room(3)
    for each in (1, 2, 3):
        room.enter(each)
    room.heard(1)
    assert [room.enter(each) for each in (4, 5)] == [2, 3]
    assert room.is_full


def test_if_all_have_said_something_the_new_one_goes():
    room = Room(2)
    for each in (1, 2):
        room.enter(each)
        room.heard(each)
    assert room.enter(3) == 3
    assert room.enter(4) == 4


def test_who_leaves_makes_room():
    room = Room(10)
    for each in range(10):
        room.enter(each)
        room.heard(each)
    assert room.enter(10) == 10
    for each in range(3):
        room.leave(each)
    assert room.enter(11) is None
    assert [room.enter(each) for each in (12, 13)] == [None, None]
    assert room.enter(14) == 11, "it has said nothing"


def test_who_goes_is_gone_before_its_connection_is():
    room = Room(1)
    room.enter(1)
    assert room.enter(2) == 1
    room.leave(1)
    assert room.enter(3) == 2
