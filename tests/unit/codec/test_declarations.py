"""A lint of the declarations: what no single test of a message would find, or would say so badly."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

import ibbridge.codec.messages
from ibbridge.codec import versions
from ibbridge.codec.layout import Branch, Flagged, Loop, SameSlot, Slot, SplitSlot, Step, carried, edges, resolve
from ibbridge.codec.messages import DOMAINS, INBOUND, MESSAGES, OUTBOUND, REQUESTS
from ibbridge.codec.schema import (
    Between,
    Const,
    Declaration,
    Each,
    Field,
    Inline,
    Kind,
    Member,
    Of,
    Pace,
    Present,
    Record,
    Request,
    Spread,
    Union,
    When,
)
from ibbridge.codec.schema import Test as Condition  # not one of pytest's
from ibbridge.codec.versions import NEWEST, OLDEST, PROTOBUF
from tests.support.declared import DECLARED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

each_declaration = pytest.mark.parametrize("declaration", DECLARED, ids=repr)
each_request = pytest.mark.parametrize("request_", OUTBOUND, ids=repr)

NAMED_VERSIONS = {number for name, number in vars(versions).items() if name.isupper()}


def resolved(declaration: Declaration) -> Iterator[tuple[Step, ...]]:
    if declaration.layout is not None:
        for version in range(OLDEST, NEWEST + 1):
            yield resolve(declaration, version)


# -- names and ids ----------------------------------------------------------------------------------------------------


def test_names_are_unique() -> None:
    assert not [name for name, times in Counter(each.name for each in DECLARED).items() if times > 1]


@pytest.mark.parametrize("declarations", [INBOUND, OUTBOUND], ids=["in", "out"])
def test_an_id_is_shared_only_by_messages_that_are_told_apart(declarations: tuple[Declaration, ...]) -> None:
    by_id: dict[int, list[Declaration]] = {}
    for each in declarations:
        by_id.setdefault(each.id, []).append(each)
    for number, found in by_id.items():
        assert 0 < number <= 200
        if len(found) > 1:
            kinds = [value for each in found for value in (each.kind[1] if each.kind else [None])]
            assert len(kinds) == len(set(kinds)), number
            assert None not in kinds, number
            # A reader of the first tells the kind, so the field must be published there and stand at one place.
            assert found[0].kind is not None
            assert not found[0].shape.field(found[0].kind[0]).hidden
            assert len({each.kind[0] for each in found if each.kind}) == 1


def test_every_domain_declares_something_and_everything_is_of_a_domain() -> None:
    assert all(domain.DECLARATIONS for domain in DOMAINS)
    folder = Path(ibbridge.codec.messages.__file__).parent
    assert {domain.__name__.rpartition(".")[2] for domain in DOMAINS} == {
        path.stem for path in folder.glob("*.py") if path.stem != "__init__"
    }


# -- records and protobuf tags ----------------------------------------------------------------------------------------


def levels(members: Sequence[Member], where: str) -> Iterator[tuple[str, list[Field | Inline]]]:
    """The members of each protobuf message in a declaration."""
    level: list[Field | Inline] = []
    for member in members:
        if isinstance(member, Spread):
            level += member.record.fields
            yield from levels(member.record.fields, f"{where}.{member.name}")
        else:
            level.append(member)
        if isinstance(member, Inline):
            yield from levels(member.fields, f"{where}.{member.tag}")
        elif isinstance(member, Field) and isinstance(member.type, Record):
            yield from levels(member.type.fields, f"{where}.{member.name}")
        elif isinstance(member, Field) and isinstance(member.type, Union):
            for record in member.type.kinds.values():
                yield f"{where}.{record.name}", [member.type.by, *record.fields]
    yield where, level


@each_declaration
def test_tags_are_unique_within_a_protobuf_message(declaration: Declaration) -> None:
    for where, level in levels(declaration.fields, declaration.name):
        tags = Counter(member.tag for member in level if member.tag)
        assert not [tag for tag, times in tags.items() if times > 1], where


@each_declaration
def test_field_names_are_unique_within_a_record(declaration: Declaration) -> None:
    records = [declaration.shape, *(each for each in _records(declaration.shape))]
    for record in records:
        names = Counter(each.name for each in record.fields)
        assert not [name for name, times in names.items() if times > 1], record.name


def _records(record: Record) -> Iterator[Record]:
    for each in record.fields:
        if isinstance(each.type, Record):
            yield each.type
            yield from _records(each.type)
        elif isinstance(each.type, Union):
            yield from each.type.kinds.values()


def test_kinds_that_share_a_field_share_its_tag() -> None:
    for declaration in DECLARED:
        for record in (declaration.shape, *_records(declaration.shape)):
            for each in record.fields:
                if isinstance(each.type, Union):
                    fields = {(inner.name, inner.tag) for kind in each.type.kinds.values() for inner in kind.fields}
                    assert len(fields) == len({name for name, _ in fields})
                    assert len(fields) == len({tag for _, tag in fields})


@each_declaration
def test_what_travels_as_protobuf_has_tags(declaration: Declaration) -> None:
    if declaration.proto_since is not None and declaration.shape.fields:
        assert any(member.tag for _, level in levels(declaration.fields, "") for member in level)


# -- versions ---------------------------------------------------------------------------------------------------------


def spans(piece: Any) -> Iterator[Between]:
    if isinstance(piece, Between):
        yield piece
    if isinstance(piece, Between | Of | Each | When | Present):
        for inner in piece.layout:
            yield from spans(inner)


@each_declaration
def test_version_spans_are_of_named_versions_and_not_empty(declaration: Declaration) -> None:
    for piece in declaration.layout or ():
        for span in spans(piece):
            assert span.since < span.until
            assert span.since in NAMED_VERSIONS | {0}
            assert span.until in NAMED_VERSIONS | {NEWEST + 1}
            assert OLDEST < max(span.since, span.until if span.until <= NEWEST else 0) <= NEWEST
    assert declaration.since in NAMED_VERSIONS
    assert declaration.proto_since is None or (declaration.proto_since in NAMED_VERSIONS)
    assert declaration.proto_since is None or declaration.proto_since >= PROTOBUF
    for _, level in levels(declaration.fields, ""):
        assert {member.since for member in level} <= NAMED_VERSIONS | {0}


def test_declarations_call_versions_by_their_names() -> None:
    folder = Path(ibbridge.codec.messages.__file__).parent
    for path in folder.glob("*.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            found = [given[name] for name in ("since", "until", "proto") if name in given]
            function = call.func.id if isinstance(call.func, ast.Name) else ""
            found += call.args[: {"Since": 1, "Until": 1, "Between": 2}.get(function, 0)]
            for value in found:
                number = isinstance(value, ast.Constant) and value.value is not None
                assert not number, f"{path.name}:{value.lineno} has a number for a version"


def test_version_names_are_unique_and_in_order() -> None:
    numbers = [number for name, number in vars(versions).items() if name.isupper() and name not in ("OLDEST", "NEWEST")]
    assert numbers == sorted(set(numbers))
    assert {OLDEST, NEWEST} - set(numbers) == {OLDEST}


# -- layouts ----------------------------------------------------------------------------------------------------------


@each_declaration
def test_every_layout_resolves_at_every_version(declaration: Declaration) -> None:
    assert declaration.layout is not None or declaration.proto_since is not None
    for _ in resolved(declaration):
        pass
    for version in range(OLDEST, NEWEST + 1):
        assert bool(carried(declaration, version)) <= declaration.exists(version)


def slots(steps: Sequence[Step], under: tuple[str, ...] = ()) -> Iterator[tuple[str, ...] | Condition]:
    """Paths in wire order, and the tests between them."""
    for step in steps:
        match step:
            case Slot() | Flagged():
                yield under + step.path
            case SplitSlot() | SameSlot():
                yield from (under + slot.path for slot in step.slots)
            case Branch():
                yield step.test
            case Loop():
                yield under + step.path
        if isinstance(step, Branch | Flagged):
            yield from slots(step.steps, under)


@each_declaration
def test_a_condition_asks_for_what_stands_earlier(declaration: Declaration) -> None:
    for steps in resolved(declaration):
        seen: set[tuple[str, ...]] = set()
        for found in slots(steps):
            if isinstance(found, Condition):
                assert found.about.keys() <= seen, found.name
            else:
                seen.add(found)


@each_declaration
def test_a_published_value_depends_on_fields_that_exist(declaration: Declaration) -> None:
    for each in declaration.shape.fields:
        for path in each.only.about if each.only else ():
            assert path[0] in {other.name for other in declaration.shape.shape}


@each_declaration
def test_a_field_comes_twice_only_where_a_layout_means_it(declaration: Declaration) -> None:
    """IB sends the trailing stop twice, and a bond's time zone; a name that slipped in twice would shift the rest."""
    for steps in resolved(declaration):
        places = Counter(found for found in slots(steps) if not isinstance(found, Condition))
        twice = {path[-1] for path, times in places.items() if times > 1}
        assert twice <= {"trailStopPrice", "timeZoneId"}


@each_declaration
def test_constants_are_fields(declaration: Declaration) -> None:
    for steps in resolved(declaration):
        texts = [step.text for step in steps if isinstance(step, Const)]
        assert not [text for text in texts if "\0" in text or not text.isascii()]


@each_declaration
def test_everything_that_is_published_is_carried_somewhere(declaration: Declaration) -> None:
    found = {path[0] for version in edges(declaration) for path in carried(declaration, version)}
    assert {each.name for each in declaration.shape.shape} <= found


def test_the_escape_hatch_has_few_users() -> None:
    """Shapes that nesting cannot say: dates that share a field, prices of combo legs, a map by bit number.

    Another one needs a reason.
    """
    assert {each.name for each in DECLARED if each.swap} == {
        "contractDetails",
        "bondContractDetails",
        "placeOrder",
        "openOrder",
        "completedOrder",
        "smartComponents",
    }


# -- what requests mean -----------------------------------------------------------------------------------------------


@each_declaration
def test_key_and_identity_are_fields_of_the_message(declaration: Declaration) -> None:
    names = {each.name for each in declaration.shape.shape}
    assert declaration.key is None or _at(declaration.shape, declaration.key).many is False
    assert declaration.last is None or declaration.last in names
    assert set(declaration.identity or ()) <= names
    if declaration.kind:
        assert declaration.kind[0] in {each.name for each in declaration.shape.fields}


def _at(record: Record, path: str) -> Field:
    head, _, rest = path.partition(".")
    found = record.field(head)
    return _at(cast("Record", found.type), rest) if rest else found


@each_declaration
def test_it_is_said_in_a_sentence_what_a_message_is_for(declaration: Declaration) -> None:
    cancel = isinstance(declaration, Request) and declaration.cancels and not declaration.doc  # says so by itself
    assert cancel or (declaration.doc.endswith(".") and len(declaration.doc) < 120)


@each_request
def test_what_a_request_refers_to_is_declared(request_: Request) -> None:
    messages = {each.name for each in INBOUND}
    assert set(request_.answers) <= messages
    assert set(request_.ends) <= set(request_.answers)
    assert request_.target is None or request_.target in REQUESTS
    names = {each.name for each in request_.shape.shape}
    assert set(request_.turns) <= names
    for answer in request_.ends if request_.repeats else ():
        assert set(request_.repeats) <= names & {each.name for each in MESSAGES[answer].shape.shape}
    if request_.does is Kind.ONE_SHOT:
        assert request_.answers


@each_request
def test_a_cancel_has_the_key_of_what_it_cancels(request_: Request) -> None:
    if request_.cancels:
        assert request_.does is Kind.FORGET
        cancelled = REQUESTS[request_.cancels]
        assert (request_.key is None) == (cancelled.key is None)
        assert cancelled.does is not Kind.FORGET


@each_request
def test_a_request_with_a_key_needs_it(request_: Request) -> None:
    if request_.key and "." not in request_.key:
        assert _at(request_.shape, request_.key).required


HISTORY = {"reqHistoricalData", "reqHistoricalTicks", "reqHeadTimeStamp", "reqHistogramData"}


def test_cancels_go_first_then_orders_and_history_last() -> None:
    """IB paces history by rules of its own; a cancel must wait for nothing."""
    paces = {each.name: each.pace for each in OUTBOUND}
    assert {name for name, pace in paces.items() if pace is Pace.HISTORY} == HISTORY
    assert {name for name, pace in paces.items() if pace is Pace.ORDER} == {"placeOrder", "exerciseOptions"}
    urgent = {name for name, pace in paces.items() if pace is Pace.CANCEL}
    assert urgent == {each.name for each in OUTBOUND if each.cancels} | {"reqGlobalCancel"}


def test_every_message_that_belongs_to_a_request_is_an_answer() -> None:
    """Without one, its data would come under a number that means nothing to anybody."""
    answers = {name for each in OUTBOUND for name in each.answers}
    assert {each.name for each in INBOUND} - answers == {"error", "orderBound"}
