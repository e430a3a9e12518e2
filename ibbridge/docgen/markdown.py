"""Page `docs/messages.md`: every message and command, for people who need not know Python.

Sections are named as IB names things. Records have `(record)` behind their names, because some differ from a message
only in their capitals, and anchors do not.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ibbridge import ib
from ibbridge.codec.messages import DOMAINS, INBOUND, MESSAGES
from ibbridge.codec.schema import (
    LONGEST_TAG,
    LONGEST_VALUE,
    MOST_ROWS,
    Declaration,
    Field,
    Inline,
    Kind,
    Limit,
    Mask,
    Member,
    Pace,
    Part,
    Path,
    Record,
    Request,
    Spread,
    Tags,
    Type,
    Union,
)
from ibbridge.codec.types import Scalar
from ibbridge.codec.versions import NEWEST, OLDEST
from ibbridge.codec.words import LISTS, Words
from ibbridge.docgen.entries import BRIDGE, Entry, asking, cancelling, commands, entries, messages, places, topics
from ibbridge.docgen.type_names import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

_HEAD = f"""\
# Messages and commands

`make docs` writes this page from the declarations in `ibbridge/codec/messages`, for server versions {OLDEST} to
{NEWEST}: do not edit it. Names are Interactive Brokers' own, so IB's manual says more about each.
[protocol.md](protocol.md) describes how messages and commands travel.

Programs find the same facts as [JSON Schema](https://json-schema.org) (draft 2020-12): [schema/](schema/) has a file
for the `data` of each message and a file for the `args` of each command. [index.json](schema/index.json) has the facts
that a schema cannot express. The schemas are installed with ibbridge: `ibbridge schema tickPrice` prints one of them.
"""

_READING = """\
## How to read this page

**Messages** always have every key. **Commands** do not take the `reqId` or `orderId` that IB's manual has: the daemon
assigns these ids. You may leave out an argument that is not required, or give nil. In **records** an attribute that has
its default is left out, unless the section of the record says otherwise.

*Versions* are the server versions (`serverVersion` in `status`) that have the field; an empty cell means all versions
of the field's message. The daemon refuses an argument that the version in use does not carry. *Protobuf* is the
field's tag on the wire; `-` marks a field that travels as text only.

A command is one of these:

| | |
|---|---|
| one-shot | TWS responds, and the request is over |
| subscription | TWS sends data until the subscription is cancelled ([index.json](schema/index.json) says `stream`) |
| order | an order, named by its `key` |
| fire-and-forget | TWS does not respond |
| setting | TWS does not respond, and from then on acts by the setting |

*Pace* is the priority of a request when more requests wait than TWS takes. The paces are, most urgent first: """


def page() -> str:
    """Return the whole page."""
    return "\n".join(_lines()).rstrip() + "\n"


def _lines() -> Iterator[str]:
    yield _HEAD
    yield from _contents()
    yield _READING + ", ".join(pace.name.lower() for pace in Pace) + ".\n"
    yield from _types()
    for domain, title in _titles().items():
        yield f"## {title}\n"
        for entry in entries():
            if entry.domain == domain:
                yield from _section(entry)
    yield "## Records\n"
    for kind, users in _users().items():
        yield from _record(kind, users)
    yield from _words()
    yield from _reference()


def _titles() -> dict[str, str]:
    """Return the headings by domain: the first line of each module's docstring."""
    titles = {each.__name__.rpartition(".")[2]: (each.__doc__ or "").splitlines()[0].rstrip(".") for each in DOMAINS}
    return {**titles, BRIDGE: "The bridge itself"}


def _reference() -> Iterator[str]:
    """Yield the tables of IB's numbers."""
    for name, (title, about) in _TABLES.items():
        yield f"## {title}\n"
        yield f"{about} The same as data: [schema/reference/{name}.json](schema/reference/{name}.json).\n"
        rows = ib.tables()[name]
        yield f"| {' | '.join(column.replace('_', ' ') for column in rows[0])} |"
        yield "|" + "---|" * len(rows[0])
        for row in rows:
            yield f"| {' | '.join(_cell(column, value) for column, value in row.items())} |"
        yield ""


_TABLES = {
    "tick_types": (
        "Tick types",
        "The values of `tickType`. *Size tick* has the size of a price, *delayed* the same data 15 minutes later.",
    ),
    "generic_ticks": ("Generic ticks", "The values for `genericTickList` of `reqMktData`, separated by commas."),
    "error_codes": (
        "Error codes",
        (
            "The values of `errorCode`, each with its `class` and `ends`. For an error about an order, `ends` is *ends "
            "new* before TWS has reported the order, and *ends working* afterwards. *Refuses* names the only thing "
            "that a code can refuse, if that is the change or the cancellation of an order. An empty `ends` depends on "
            "the case, and is nil."
        ),
    ),
}


def _cell(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if name == "message":
        return _link(value)
    return "" if value is None else str(value)


# -- links -----------------------------------------------------------------------------------------------------------


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _link(name: str) -> str:
    return f"[{name}](#{slug(name)})"


def _links(names: Iterable[str]) -> str:
    return ", ".join(map(_link, names))


def _record_link(kind: Record | Union | Mask) -> str:
    return f"[{kind.name}](#{slug(_record_heading(kind))})"


def _record_heading(kind: Record | Union | Mask) -> str:
    return f"{kind.name} (record)"


def _contents() -> Iterator[str]:
    yield "## Contents\n"
    for domain, title in _titles().items():
        yield f"- [{title}](#{slug(title)})"
        for word, listed in (("commands", commands()), ("messages", messages())):
            if names := [entry.name for entry in listed if entry.domain == domain]:
                yield f"  - {word}: {_links(names)}"
    yield f"- [Records](#records): {', '.join(map(_record_link, _users()))}"
    yield f"- {_links(('Words', *(title for title, _ in _TABLES.values())))}"
    yield ""


# -- types -----------------------------------------------------------------------------------------------------------


def _types() -> Iterator[str]:
    yield "### Types\n"
    yield "A number that TWS has not set is nil. A value whose default is nil is nil as well if TWS has not set it.\n"
    yield "| type | as published | as a command takes it |"
    yield "|---|---|---|"
    for kind in KINDS.values():
        yield f"| {kind.word} | {kind.says} | {kind.takes} |"
    yield (
        f"| tags | a list of `{{tag, value}}`, both text | the same: at most {MOST_ROWS} rows, as in every list unless "
        f"this page says otherwise; at most {LONGEST_TAG} characters in a tag, and {LONGEST_VALUE} in a value |"
    )
    yield ""


def _type(field: Field) -> str:
    kind = _kind(field.type)
    if field.distinct:
        return f"list of {kind}, sorted, each once"
    return f"list of {kind}" if field.many else kind


def _bounds(field: Field) -> str:
    """Return the limits on a command's value where they differ from those of its type."""
    if field.words:
        return f", one of [{field.words.noun}](#words)"
    if field.least is not None:
        return f", at least {field.least}"
    if field.rows:
        return f", at most {field.rows} rows"
    known = isinstance(field.type, Scalar) and field.type.longest
    return f", at most {field.most} characters" if field.most != known and field.most else ""


def _words() -> Iterator[str]:
    """Yield the table of IB's word lists, each list once."""
    yield "## Words\n"
    yield (
        "The words that IB lists for an argument. The daemon refuses a command with another word, and names the "
        "nearest listed word. `commands.order_types` adds order types to the list, and `commands.unknown_words: pass` "
        "leaves the check of all words to TWS, for words that IB has added since. The daemon does not check words in "
        "messages from TWS. *In any case*: the daemon takes small letters as well.\n"
    )
    yield "| | words |"
    yield "|---|---|"
    nouns: dict[str, Words] = {}
    for words in LISTS:  # the first of a noun is the plain one
        nouns.setdefault(words.noun, words)
    for noun, words in nouns.items():
        listed = ", ".join(f"`{word}`" for word in words.listed) or words.formed
        yield f"| {noun}{' (in any case)' if words.any_case else ''} | {listed} |"
    yield ""
    yield (
        "The type of an adjusted or delta-neutral order may also be `NONE`. `reqHeadTimeStamp` has no date format 3.\n"
    )


def _kind(kind: Type) -> str:
    if isinstance(kind, Scalar):
        known = ", ".join(f"`{code}`" for code in kind.known)
        return f"{KINDS[kind.name].word} {known}".rstrip()
    return "tags" if isinstance(kind, Tags) else _record_link(kind)


def _shown(value: Any) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "empty" if value in ("", [], {}) else str(value)


# -- messages and commands -------------------------------------------------------------------------------------------


def _section(entry: Entry) -> Iterator[str]:
    yield f"### {entry.name}\n"
    if entry.declaration and entry.declaration.doc:
        yield f"{entry.declaration.doc}\n"
    yield from (f"- {fact}" for fact in _facts(entry))
    yield ""
    rows = [*_rows(entry)]
    if rows:
        yield from _table(("argument" if entry.is_command else "field", "type", _DEFAULT[entry.is_command]), rows)
    else:
        yield f"No {'arguments' if entry.is_command else 'fields'}.\n"
    yield from _coverage(entry)


_DEFAULT = {True: "if left out", False: "if TWS leaves it out"}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield a table. Columns without any content are left out."""
    whole = [(*head, "versions", "protobuf"), *rows]
    kept = [i for i in range(len(whole[0])) if i < len(head) or any(row[i].strip("-") for row in rows)]
    for number, row in enumerate(whole):
        yield f"| {' | '.join(row[i] for i in kept)} |"
        if not number:
            yield "|" + "---|" * len(kept)
    yield ""


_OF_ORDERS = ("modifyOrder", "placeOrders", "cancelOrders", "orders", "reconcile", "acceptJournal")
"""Commands of the daemon that its page describes among the orders."""


def _facts(entry: Entry) -> Iterator[str]:
    declaration = entry.declaration
    if isinstance(declaration, Request):
        yield from _command_facts(entry, declaration)
    elif declaration is not None:
        yield from _message_facts(declaration)
    else:
        place = "orders" if entry.name in _OF_ORDERS else "the-daemons-own-commands"
        yield f"a command of the bridge's own; its result is in [protocol.md](protocol.md#{place})"
    if declaration is not None:
        yield _wire(entry, declaration)
    if entry.usable:
        path = f"schema/{'commands' if entry.is_command else 'messages'}/{entry.name}.json"
        yield f"schema: [{path}]({path})"


def _wire(entry: Entry, declaration: Declaration) -> str:
    first, last = entry.lives[()]
    proto = declaration.proto_since
    form = "text only" if proto is None else f"protobuf from {proto} on"
    others = [message.name for message in INBOUND if message.id == declaration.id and message is not declaration]
    shared = ""
    if declaration.kind and others:
        name, values = declaration.kind
        shared = f" (shared with {_links(others)}; this one where `{name}` is {' or '.join(map(str, sorted(values)))})"
    return f"on the wire: id {declaration.id}{shared}; server versions {first} to {last}, {form}"


def _command_facts(entry: Entry, request: Request) -> Iterator[str]:
    if not entry.usable:
        yield "sent by the daemon itself; clients cannot send it"
    elif entry.restricted:
        yield "refused unless `commands.allow` in the configuration lists it, because it concerns the whole connection"
    yield f"{_kind_of(request)}, pace {request.pace.name.lower()}" + _limits(request)
    if request.answers:
        streams = request.does is Kind.SUBSCRIPTION and not request.turns
        word = "the full state ends with" if streams else "the last is"
        end = f"; {word} {_ends(request)}" if request.ends and len(request.answers) > 1 else ""
        yield f"responses: {_links(request.answers)}{end}"
    if entry.usable and (found := topics(request)):
        yield f"its data is published on {_topics(found)}"
    if request.concerns:
        yield f"concerns the open {_link(request.concerns)} that `id` names"
    if request.turns:
        other = "a one-shot" if request.does is Kind.SUBSCRIPTION else "a subscription"
        yield f"{other} with {' or '.join(f'`{flag}`' for flag in request.turns)}"
    if request.lingers:
        yield "needs no cancel: TWS would keep the request after its response, but the daemon cancels it"
    if request.cancels:
        yield f"cancels {_link(request.cancels)}"
    elif cancels := cancelling(request):
        yield f"cancelled by {_links(cancel.name for cancel in cancels)}"


def _kind_of(request: Request) -> str:
    """Return the word of the page for the kind of a request."""
    return "subscription" if request.does is Kind.SUBSCRIPTION else request.does.value


def _limits(request: Request) -> str:
    if not request.limits:
        return ""
    return f"; the daemon sends at most {'; '.join(map(_limit, request.limits))}; further requests wait"


def _limit(limit: Limit) -> str:
    number = f"{limit.most} {'at a time' if limit.seconds is None else f'in any {limit.seconds:g} s'}"
    alike = "that are the same" if limit.alike is None else "of the same " + " and ".join(f"`{n}`" for n in limit.alike)
    note = f" ({limit.note})" if limit.note else ""
    return number + (f" {alike}" if limit.alike != () else "") + note


def _ends(request: Request) -> str:
    """Return the messages after which no more come, each with the field that marks the last of several."""
    found = []
    for name in request.ends:
        last = MESSAGES[name].last
        found.append(_link(name) + (f" with `{last}`" if last else ""))
    return " or ".join(found)


def _message_facts(message: Declaration) -> Iterator[str]:
    if asked := asking(message):
        yield f"a response to {_links(request.name for request in asked)}"
    found = places(message)
    yield "published on " + (_topics(found) if found else "the topics of the request or order that it concerns")
    if message.identity is None:
        yield "an event: not in a `snapshot`"
    else:
        each = " and ".join(("topic", *(f"`{name}`" for name in message.identity)))
        yield f"state: a `snapshot` has the last message of each {each}"


def _topics(found: Mapping[str, str]) -> str:
    return ", ".join(f"`{topic}`" + (f" (with `{flag}`)" if flag else "") for topic, flag in found.items())


# -- fields ----------------------------------------------------------------------------------------------------------


def _rows(entry: Entry) -> Iterator[tuple[str, ...]]:
    for own in entry.own:
        yield f"`{own.name}`", own.word, "**required**" if own.required else own.note or "empty", "", "-"
    tags = dict(_tags(entry.declaration.fields if entry.declaration else (), ""))
    named = {name.name: tag for name, tag in tags.items()}
    for field in (*entry.fields, *(field for field in tags if "." in field.name)):
        yield _row(entry, field, field.path, named.get(field.name, "-"))


def _row(entry: Entry, field: Field, path: Path, tag: str) -> tuple[str, ...]:
    if entry.is_command:
        value = "**required**" if entry.required(path, field) else _shown(field.default)
    else:
        value = _left_out(field)
    kind = _type(field) + ("; in protobuf a map" if entry.maps(path) else "")
    kind += _bounds(field) if entry.is_command else ""
    return f"`{field.name}`", kind, value, _span(entry, path), tag


def _left_out(field: Field) -> str:
    """Return the value that is published for a field that TWS has left out."""
    value, absent = _shown(field.default), field.missing(told=True)
    if absent != field.default:
        value = f"{value}; {_shown(absent)} in protobuf"
    return f"{value}; always unless {field.only.name}" if field.only else value


def _span(entry: Entry, path: Path) -> str:
    """Return the versions at which a field is carried, if they are not all of its message's."""
    whole, life = entry.lives.get(()), entry.lives.get(path)
    return "never" if life is None and path else _range(life, whole)


def _range(life: tuple[int, int] | None, whole: tuple[int, int] | None) -> str:
    if life is None or whole is None or life == whole:
        return ""
    first, last = life
    if last == whole[1]:
        return f"from {first}"
    return f"up to {last}" if first == whole[0] else f"{first} to {last}"


def _tags(members: Iterable[Member], under: str) -> Iterator[tuple[Field, str]]:
    """Yield each field with its protobuf tag: `4.1` for a field of a message that only protobuf nests."""
    for member in members:
        if isinstance(member, Inline):
            yield from _tags(member.fields, f"{under}{member.tag}.")
        elif isinstance(member, Spread):
            yield Part(member.name, member.record), "its own"
        elif member.tag and not member.hidden:
            yield member, f"{under}{member.tag}"


# -- what of a record is carried -------------------------------------------------------------------------------------


def _coverage(entry: Entry) -> Iterator[str]:
    """Yield, for each record in a message, which attributes travel at which versions, unless all always do."""
    if entry.needed:
        listed = ", ".join(f"`{'.'.join(path)}`" for path in sorted(entry.needed))
        yield f"Required: {listed}.\n"
    for field in entry.fields:
        if isinstance(field.type, Record):
            yield from _of_record(entry, field.type, (field.name,))


def _of_record(entry: Entry, record: Record, path: Path) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for field in record.shape:
        where = (*path, field.name)
        word = _range(entry.lives[where], entry.lives.get(path)) if where in entry.lives else "never"
        groups.setdefault(word, []).append(f"`{field.name}`")
    always = groups.pop("", [])
    whose, travels = f"`{'.'.join(path)}`", "are sent" if entry.is_command else "arrive"
    if len(groups.get("never", ())) > len(always):
        del groups["never"]
        said = [", ".join(always), *(f"{word} also {', '.join(names)}" for word, names in sorted(groups.items()))]
        aside = " Other attributes are accepted and ignored." if record.lenient and entry.is_command else ""
        yield f"Of {whose} only these attributes {travels}: {'; '.join(filter(None, said))}.{aside}\n"
    elif groups:
        said = [
            f"{', '.join(names)} {word if word == 'never' else f'only {word}'}"
            for word, names in sorted(groups.items())
        ]
        yield f"All attributes of {whose} {travels}, but {'; '.join(said)}.\n"
    for field in record.shape:
        if isinstance(field.type, Record) and (*path, field.name) in entry.lives:
            yield from _of_record(entry, field.type, (*path, field.name))


# -- records ---------------------------------------------------------------------------------------------------------


def _users() -> dict[Record | Union | Mask, list[str]]:
    """Return every record, union and mask, with the names of the messages and commands that have it.

    Kinds with the same name are one to the reader of the page: they differ on the wire only.
    """
    first: dict[str, Record | Union | Mask] = {}
    found: dict[Record | Union | Mask, list[str]] = {}

    def meet(kind: Type, name: str) -> None:
        if isinstance(kind, Scalar | Tags):
            return
        names = found.setdefault(first.setdefault(kind.name, kind), [])
        if name not in names:
            names.append(name)
        fields = kind.shape if isinstance(kind, Record) else ()
        rows = kind.kinds.values() if isinstance(kind, Union) else ()
        for inner in (*(field.type for field in fields), *(field.type for row in rows for field in row.shape)):
            meet(inner, name)

    for entry in entries():
        for field in entry.fields:
            meet(field.type, entry.name)
    return found


def _record(kind: Record | Union | Mask, users: Sequence[str]) -> Iterator[str]:
    yield f"### {_record_heading(kind)}\n"
    yield f"In {_links(users)}.\n"
    if isinstance(kind, Mask):
        yield f"The flags that are set, each `true`: {', '.join(f'`{bit}`' for bit in kind.bits)}.\n"
    elif isinstance(kind, Union):
        listed = ", ".join(f"{number} {record.name}" for number, record in kind.kinds.items())
        yield f"Rows of several kinds, told apart by `{kind.by.name}`: {listed}.\n"
        for number, record in kind.kinds.items():
            yield f"`{kind.by.name}` {number}, {record.name}:\n"
            yield from _attributes(record, users)
    else:
        yield from _attributes(kind, users)


def _attributes(record: Record, users: Sequence[str]) -> Iterator[str]:
    if record.full:
        yield "Every attribute is always present.\n"
    sent = not {field.name for field in commands()}.isdisjoint(users)
    rows = [
        (f"`{field.name}`", _type(field) + _said(field, sent=sent), _shown(field.default), "", str(field.tag or "-"))
        for field in record.shape
    ]
    yield from _table(("attribute", "type", "default"), rows)


def _said(field: Field, *, sent: bool) -> str:
    """Return the limits on an attribute in commands, if commands have its record at all."""
    bounds = _bounds(field).removeprefix(", ") if sent else ""
    return f" (commands: {bounds})" if bounds else ""
