"""A market depth book, beside a list that is changed by hand."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ibbridge.streams.market_depth import DEEPEST, DELETE, INSERT, UPDATE, DepthBook

CHANGES = st.tuples(st.integers(0, 6), st.sampled_from([INSERT, UPDATE, DELETE, 7, None]), st.integers(0, 1))


def row(position, operation=INSERT, side=0, price=1.0):
    return {"reqId": 1, "position": position, "operation": operation, "side": side, "price": price, "size": 1.0}


def prices(book, side):
    return [each["price"] for each in book.rows() if each["side"] == side]


@given(st.lists(CHANGES, max_size=60))
def test_the_book_is_what_the_changes_add_up_to(changes):
    book = DepthBook()
    sides: dict[int, list[int]] = {0: [], 1: []}
    for number, (position, operation, side) in enumerate(changes):
        book.apply(row(position, operation, side, number), number)
        rows = sides[side]
        if operation == INSERT and position <= len(rows):
            rows.insert(position, number)
        elif operation == UPDATE and position <= len(rows):
            rows[position : position + 1] = [number]
        elif operation == DELETE:
            del rows[position : position + 1]
        assert {each: prices(book, each) for each in (0, 1)} == sides


@given(st.lists(CHANGES, max_size=60))
def test_its_rows_make_the_same_book_out_of_an_empty_one(changes):
    book, again = DepthBook(), DepthBook()
    for number, (position, operation, side) in enumerate(changes):
        book.apply(row(position, operation, side, number), number)
    for each in book.rows():
        assert each["operation"] == INSERT
        again.apply(each, 1)
    assert list(again.rows()) == list(book.rows())


def test_a_position_that_is_none_changes_nothing():
    book = DepthBook()
    for position in (None, -1, DEEPEST, 2**31):
        book.apply(row(position), 1)
    assert list(book.rows()) == []


def test_the_first_change_of_a_new_connection_empties_what_the_old_one_left():
    book = DepthBook()
    book.apply(row(0, price=1.0), 1)
    book.fresh = False
    assert prices(book, 0) == [1.0]
    book.apply(row(0, price=2.0), 2)
    assert (prices(book, 0), book.fresh) == ([2.0], True)


def test_no_side_is_deeper_than_any_book_there_is():
    book = DepthBook()
    for number in range(DEEPEST + 50):
        book.apply(row(0, price=number), 1)
    assert len(prices(book, 0)) == DEEPEST
