"""Pages and schemas made from the declarations: up to date, complete, and without a link that leads nowhere."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ibbridge.codec import Message
from ibbridge.codec.layout import carried, lifetime
from ibbridge.codec.messages import DOMAINS, INBOUND, MESSAGES, OUTBOUND
from ibbridge.codec.schema import Declaration, Kind, Mask, Record, Request, Str, Tags, Topic, Union, inbound
from ibbridge.codec.types import Scalar
from ibbridge.codec.versions import NEWEST, OLDEST
from ibbridge.commands.takes import ORDER_TAKES, TAKES
from ibbridge.docgen import PAGE, SCHEMAS, commands, files, markdown
from ibbridge.docgen.__main__ import main
from ibbridge.docgen.entries import Entry, entries, places, topics
from ibbridge.protocol import arguments
from ibbridge.protocol.arguments import DAEMON_ONLY, WHAT_IF
from ibbridge.protocol.errors import CommandRefused
from ibbridge.requests.request import CommandId
from tests.conformance.golden import IN
from tests.conformance.test_golden import client
from tests.support.daemon_core import AAPL, CLIENT_ID, Middle
from tests.support.declared import DECLARED
from tests.support.json_schemas import example

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ibbridge.codec.schema import Path as Place

ROOT = Path(__file__).parents[2]
FILES = files()
TEXT = FILES[PAGE]
HEADINGS = re.findall(r"^#{1,6} (.+)$", TEXT, re.MULTILINE)
SECTIONS = dict(re.findall(r"^### (\S+)\n(.*?)(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL))


# -- the files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FILES)
def test_what_is_written_from_the_declarations_is_up_to_date(path: str) -> None:
    file = ROOT / path
    assert file.exists(), "run `make docs`"
    assert file.read_text(encoding="utf-8") == FILES[path], "run `make docs`"


def test_no_file_is_left_over_from_what_is_no_longer_declared() -> None:
    there = {str(path.relative_to(ROOT)) for path in (ROOT / SCHEMAS).rglob("*") if path.is_file()}
    assert there <= FILES.keys(), "run `make docs`"


def test_writing_the_files_removes_what_is_left_over(tmp_path: Path) -> None:
    gone = tmp_path / SCHEMAS / "messages" / "updateAccountTimes.json"
    gone.parent.mkdir(parents=True)
    gone.write_text("{}")
    main(tmp_path)
    written = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert written == FILES


def test_the_schemas_stand_beside_the_page_too() -> None:
    assert (ROOT / "docs" / "schema").resolve() == (ROOT / SCHEMAS).resolve()


# -- nothing is left out ----------------------------------------------------------------------------------------------


def test_every_declaration_has_a_section_and_a_schema() -> None:
    assert not [each.name for each in DECLARED if each.name not in SECTIONS]
    assert not [each.name for each in INBOUND if f"{SCHEMAS}/messages/{each.name}.json" not in FILES]
    usable = [each.name for each in OUTBOUND if each.name not in DAEMON_ONLY]
    assert not [name for name in usable if f"{SCHEMAS}/commands/{name}.json" not in FILES]


def test_every_command_that_the_daemon_knows_is_described_and_no_other() -> None:
    own = {**TAKES, **ORDER_TAKES}
    known = {*(each.name for each in OUTBOUND), WHAT_IF, *own}
    assert {each.name for each in commands()} == known
    middle = Middle()
    assert not [name for name in known - own.keys() if name not in middle.requests]
    for name, takes in own.items():
        if name in ("riskExplain", "reload"):  # there is no decision to ask for, and no configuration to read
            continue
        args = {"all": True} if name == "cancelOrders" else {}  # one of its two arguments is needed
        reply = middle.call({"id": name, "cmd": name, "client": "a", "args": args})
        missing = [f"{each.name} is missing" for each in takes if each.required]
        assert reply["error"]["faults"] == missing if missing else reply["ok"]


def test_every_domain_has_a_heading_of_its_own_words() -> None:
    for domain in DOMAINS:
        assert f"## {(domain.__doc__ or '').splitlines()[0].rstrip('.')}\n" in TEXT


@pytest.mark.parametrize("name", [each.name for each in DECLARED])
def test_every_field_that_is_published_or_may_be_given_is_on_the_page(name: str) -> None:
    entry = next(each for each in entries() if each.name == name)
    for field in [each.name for each in entry.fields] + [each.name for each in entry.own]:
        assert f"| `{field}` |" in SECTIONS[name]


def test_every_record_is_on_the_page_with_all_that_it_has() -> None:
    for kind in _kinds():
        begin = TEXT.index(f"\n### {kind.name} (record)\n")
        section = TEXT[begin : TEXT.find("\n### ", begin + 1)]
        names = kind.bits if isinstance(kind, Mask) else [f.name for row in _rows(kind) for f in row.shape]
        assert not [each for each in names if f"`{each}`" not in section], kind.name


def test_records_of_one_name_look_alike_to_clients() -> None:
    seen: dict[str, set[str]] = {}
    for kind in _kinds():
        names = set(kind.bits) if isinstance(kind, Mask) else {each.name for each in getattr(kind, "shape", ())}
        assert seen.setdefault(kind.name, names) == names


def _kinds() -> set[Any]:
    """Return all named kinds of values that a client can meet."""
    found: set[Any] = set()

    def meet(kind: Any) -> None:
        if isinstance(kind, Scalar | Tags) or kind in found:
            return
        found.add(kind)
        for each in (field for row in _rows(kind) for field in row.shape):
            meet(each.type)

    for each in (field for entry in entries() for field in entry.fields):
        meet(each.type)
    return found


def _rows(kind: Any) -> tuple[Record, ...]:
    """The records of which a type is made."""
    return (kind,) if isinstance(kind, Record) else (*kind.kinds.values(),) if isinstance(kind, Union) else ()


def test_a_line_about_a_message_stands_above_its_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    told = inbound(1, "told", Str("what", 1), text="what", proto=None, doc="Something was said.")
    entry = Entry("told", "system", told.shape.shape, told, lives=lifetime(told))
    monkeypatch.setattr(markdown, "entries", lambda: (entry,))
    assert "### told\n\nSomething was said.\n\n- " in markdown.page()


# -- links ------------------------------------------------------------------------------------------------------------


def test_headings_are_unique_as_anchors() -> None:
    assert not [anchor for anchor, times in Counter(map(_anchor, HEADINGS)).items() if times > 1]


def test_no_link_on_the_page_is_dead() -> None:
    anchors = {f"#{_anchor(heading)}" for heading in HEADINGS}
    links = set(re.findall(r"\]\(([^)]+)\)", TEXT))
    assert len(links) > 2 * len(DECLARED)
    assert not [link for link in links if link.startswith("#") and link not in anchors]
    for link in links:
        if not link.startswith(("#", "https:")):
            path, _, anchor = link.partition("#")
            target = ROOT / "docs" / path
            assert target.exists(), link
            if anchor:
                assert anchor in map(_anchor, re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)), link


def _anchor(heading: str) -> str:
    """Return the anchor of a heading as GitHub makes it: https://gist.github.com/asabaylus/3071099."""
    return "".join(c for c in heading.lower().replace(" ", "-") if c.isalnum() or c in "-_")


# -- what is said is so -----------------------------------------------------------------------------------------------


def test_a_field_that_has_come_stays_until_it_goes() -> None:
    for declaration in DECLARED:
        for path, (first, last) in lifetime(declaration).items():
            for version in range(OLDEST, NEWEST + 1):
                there = path in carried(declaration, version) if path else declaration.exists(version)
                assert there == (first <= version <= last), (declaration, path, version)


@pytest.mark.parametrize("name", IN)
def test_nothing_arrives_at_a_version_at_which_the_page_says_that_it_does_not(name: str) -> None:
    for vector in IN[name]:
        version = vector["server_version"]
        got = client(version).read(bytes.fromhex(vector["frame"]))
        if isinstance(got, Message) and MESSAGES[got.name].in_protobuf(version) == (vector["enc"] == "proto"):
            lives = lifetime(MESSAGES[got.name])
            for path in _there(MESSAGES[got.name].shape, got.data, ()):
                first, last = lives[path]
                assert first <= version <= last, (vector["id"], path)


def _there(record: Record, data: dict[str, Any], under: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The places of a message's data that hold something."""
    for each in record.shape:
        value = data.get(each.name)
        if value in (None, each.default, each.absent):
            continue
        yield (*under, each.name)
        if isinstance(each.type, Record):
            for row in value if isinstance(value, list) else [value]:
                yield from _there(each.type, row, (*under, each.name))


@pytest.mark.parametrize("message", [each for each in INBOUND if each.topic is not Topic.REQUEST], ids=repr)
def test_a_message_that_nobody_asked_for_is_published_where_the_page_says(message: Declaration) -> None:
    middle = Middle()
    heard = middle.topic_of(message.name, **_named(message))
    assert heard.partition(".")[0] in {topic.partition(".")[0] for topic in places(message)}


@pytest.mark.parametrize("entry", [each for each in commands() if getattr(each.declaration, "answers", ())], ids=repr)
def test_the_answers_to_a_command_are_published_where_the_page_says(entry: Entry) -> None:
    request = entry.declaration
    assert isinstance(request, Request)
    if not entry.usable:
        return
    for flag in {"": None, **dict.fromkeys(filter(None, topics(request).values()))}:
        middle = Middle(allowed=[request.name])
        given = {**example(entry), **({flag: True} if flag else {})}
        _asked_first(middle, entry, given)
        middle.requests.execute(entry.name, given, CommandId("a", "second"), None)
        sent = middle.link.sent[-1].data
        number = arguments.number(request)
        numbered = {"orderId": _at(sent, number)} if number else {}
        for answer in request.answers:
            message = MESSAGES[answer]
            repeated = {name: given[name] for name in request.repeats} | _named(message) | numbered
            if message.key and number:
                repeated |= arguments.numbered({}, tuple(message.key.split(".")), _at(sent, number))
            heard = middle.topic_of(answer, **repeated)
            assert [topic for topic in topics(request) if _matches(topic, answer, heard)], heard
            assert [topic for topic in places(message) if _matches(topic, answer, heard)], heard


def _asked_first(middle: Middle, entry: Entry, given: dict[str, Any]) -> None:
    """Make what a command is about, and name that in its arguments."""
    given |= {own.name: "first" for own in entry.own if own.name not in ("parent", "permId")}
    request = entry.declaration
    if isinstance(request, Request) and request.target:
        asked = next(each for each in commands() if each.name == request.target)
        middle.ask(asked.name, id="first", key=given.get("key"), **example(asked))


def _at(data: Any, path: Place) -> Any:
    for name in path:
        data = data[name]
    return data


def _matches(pattern: str, answer: str, topic: str) -> bool:
    """Return True if a topic matches the page, where `<...>` stands for anything without a dot."""
    return re.fullmatch(re.sub(r"<\w+>", "[^.]+", re.escape(pattern)) + f"{answer}\\.", topic) is not None


def _named(message: Declaration) -> dict[str, Any]:
    """Return a message's data as far as the router looks at it."""
    about = {"contract": AAPL, "order": {"clientId": CLIENT_ID}, "orderState": {"initMarginAfter": "1"}}
    return {each.name: about[each.name] for each in message.shape.fields if each.name in about}


def test_a_command_is_accepted_as_described_and_not_with_the_ids_of_the_daemon() -> None:
    for entry in commands():
        request = entry.declaration
        if not isinstance(request, Request) or request.target or not entry.usable:
            continue
        middle = Middle(allowed=[request.name])
        key = "mine" if request.does is Kind.ORDER else None
        if number := arguments.number(request):
            given = arguments.numbered(example(entry), number, 1)
            with pytest.raises(CommandRefused, match=f"{request.key} is the daemon's"):
                middle.ask(entry.name, key=key, **given)
        middle.ask(entry.name, key=key, **example(entry))
        assert middle.link.take()


def test_a_cancel_names_the_command_that_it_takes_back() -> None:
    for entry in commands():
        request = entry.declaration
        if not isinstance(request, Request) or not request.target:
            continue
        middle = Middle()
        asked = next(each for each in commands() if each.name == request.target)
        named = {each.name for each in entry.own}
        middle.ask(asked.name, id="first", key="mine" if "key" in named else None, **example(asked))
        given = {"id": "first", "key": "mine"}
        args = {**example(entry), **{name: given[name] for name in named & given.keys()}}
        middle.requests.execute(entry.name, args, CommandId("a", "second"), None)
        assert middle.link.take()[-1].name == request.name


def test_the_tests_that_show_a_boundary_of_orders_are_there() -> None:
    page = (ROOT / "docs" / "order-truth.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .+ → .+ \|$", page, re.MULTILINE)
    assert len(rows) == 6
    for row in rows:
        named = re.findall(r"`((?:unit|integration|scenarios|world)[\w/.]*)`", row)
        assert named, row
        assert all((ROOT / "tests" / name).exists() for name in named), row
