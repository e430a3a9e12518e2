"""Differences between declarations and tables of the protocol. Each check yields its findings as sentences.

`test_tables.py` says which of them are no faults. The tables are in `tables/`.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ibbridge.codec import types as t
from ibbridge.codec.layout import Branch, Flagged, Length, Loop, SameSlot, Slot, SplitSlot, Step, resolve
from ibbridge.codec.messages import MESSAGES
from ibbridge.codec.messages.contracts import CONTRACT_DETAILS
from ibbridge.codec.messages.orders import CONDITION
from ibbridge.codec.proto import nested, tagged
from ibbridge.codec.schema import Const, Declaration, Field, Inline, Mask, Member, Record, Tags, Union
from ibbridge.codec.schema import Path as Place
from ibbridge.codec.versions import NEWEST, OLDEST
from tests.conformance.golden import IN, OriginError, published

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

FOLDER = Path(__file__).parent / "tables"

VERSIONS = range(OLDEST, NEWEST + 1)

# -- the tables -------------------------------------------------------------------------------------------------------


@cache
def table(name: str) -> Any:
    """Return a table. Raise `OriginError` if the table does not say where it comes from."""
    about = json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))
    if not about.get("origin"):
        raise OriginError(name)
    return about["table"]


def plain(names: Iterable[str]) -> set[str]:
    """Without what the reference client's language forces on some names: `open_`, `reqConfigProtoBuf`."""
    return {name.rstrip("_").removesuffix("ProtoBuf") for name in names}


def by_plain_name(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name.rstrip("_").removesuffix("ProtoBuf"): value for name, value in table.items()}


# -- ids and signatures -----------------------------------------------------------------------------------------------


def id_faults(declarations: Sequence[Declaration], direction: str) -> Iterator[str]:
    ids = table("message_ids")
    known = {**ids[direction], **ids["legacy"][direction]}
    declared = {each.id for each in declarations}
    yield from (f"{name} ({number}) is not declared" for name, number in known.items() if number not in declared)
    yield from (
        f"{each.name} has the id {each.id}, which is none" for each in declarations if each.id not in known.values()
    )


def name_faults(declarations: Sequence[Declaration], named: Iterable[tuple[int, str]]) -> Iterator[str]:
    """Ids and names belong together, as traces of the reference client say."""
    declared = {(each.id, each.name) for each in declarations}
    yield from (f"{name} is not declared on the id {number}" for number, name in set(named) - declared)


def reported() -> Iterator[tuple[int, str]]:
    """Ids, and what the reference client calls for them."""
    for vectors in IN.values():
        for vector in vectors:
            if found := published(vector):
                yield vector["msg_id"], found[0]


def called() -> Iterator[tuple[int, str]]:
    """Ids of the frames that the reference client's methods send."""
    for method, ranges in table("request_availability").items():
        yield from ((each["msg_id"], method.removesuffix("ProtoBuf")) for each in ranges if "msg_id" in each)


_TYPES = {
    "int": {"int", "long", "flag"},
    "float": {"float", "computed", "whole"},
    "str": {"str", "amount", "code"},
    "bool": {"bool"},
    "Decimal": {"decimal"},
    "list": {"list"},
    "set": {"set"},
}


def kind_of(field: Field) -> str:
    if field.distinct:
        return "set"
    if field.many or isinstance(field.type, Tags):
        return "list"
    return field.type.name


def signature_faults(declarations: Sequence[Declaration], signatures: Mapping[str, Any]) -> Iterator[str]:
    wanted, declared = by_plain_name(signatures), {each.name: each for each in declarations}
    yield from (f"{name} is not declared" for name in wanted.keys() - declared.keys())
    yield from (f"{name} is made up" for name in declared.keys() - wanted.keys())
    for name in wanted.keys() & declared.keys():
        parameters = by_plain_name({each["name"]: each["type"] for each in wanted[name]})
        fields = {each.name: each for each in declared[name].shape.shape}
        yield from (f"{name}.{each} is not declared" for each in parameters.keys() - fields.keys())
        yield from (f"{name}.{each} is made up" for each in fields.keys() - parameters.keys())
        for each in parameters.keys() & fields.keys():
            kind, want = kind_of(fields[each]), parameters[each]
            if want and kind not in _TYPES.get(want, {want}):
                yield f"{name}.{each} is a {kind}, not a {want}"


# -- classes ----------------------------------------------------------------------------------------------------------


def records(declarations: Sequence[Declaration]) -> dict[str, list[Record | Mask]]:
    """Every record and mask that a declaration has somewhere, by name; some are declared twice, in two orders."""
    found: dict[str, list[Record | Mask]] = {}

    def walk(kind: Any) -> None:
        if isinstance(kind, Union):
            for number, each in kind.kinds.items():
                by = replace(kind.by, default=number)
                walk(Record(each.name, (by, *each.fields)))
        elif isinstance(kind, Record | Mask):
            found.setdefault(kind.name, []).append(kind)
        if isinstance(kind, Record):
            for field in kind.fields:
                walk(field.type)

    for each in declarations:
        for field in each.shape.fields:
            walk(field.type)
    return found


def class_faults(declarations: Sequence[Declaration], classes: Mapping[str, Any]) -> Iterator[str]:
    declared = records(declarations)
    yield from (f"class {name} is not declared" for name in classes.keys() - declared.keys())
    messages = table("proto_messages")
    yield from (f"class {name} is made up" for name in declared.keys() - classes.keys() if name not in messages)
    for name in classes.keys() & declared.keys():
        attributes = by_plain_name(classes[name])
        for each in declared[name]:
            fields = (
                {bit: Field(bit, t.BOOL, default=False) for bit in each.bits}
                if isinstance(each, Mask)
                else {field.name: field for field in each.shape}
            )
            yield from (f"{name}.{missing} is not declared" for missing in attributes.keys() - fields.keys())
            yield from (f"{name}.{odd} is made up" for odd in fields.keys() - attributes.keys())
            for attribute in attributes.keys() & fields.keys():
                yield from default_faults(f"{name}.{attribute}", fields[attribute], attributes[attribute])


def default_faults(where: str, field: Field, about: Mapping[str, Any]) -> Iterator[str]:
    want, got = about["default"], field.default
    if isinstance(want, dict) and "class" in want:
        if not (isinstance(field.type, Record | Mask) and field.type.name == want["class"] and got == {}):
            yield f"{where} is {got!r} by default, not an empty {want['class']}"
        return
    if isinstance(want, dict):  # a member of an enumeration: we pass its code, and none is no text
        want = "" if want["value"] == "None" else want["value"]
    if want is None and kind_of(field) == "list":  # no list is an empty one
        want = []
    if got != want or isinstance(got, bool) != isinstance(want, bool):
        yield f"{where} is {got!r} by default, not {want!r}"
    unset = {"int": {"int32", "int64"}, "double": {"double"}, "decimal": {"string"}}.get(about.get("unset", ""))
    if unset and not (isinstance(field.type, t.Scalar) and field.type.proto in unset):
        yield f"{where} cannot be unset as a {about['unset']}"


# -- protobuf ---------------------------------------------------------------------------------------------------------


def protobuf_faults(declarations: Sequence[Declaration], direction: str, messages: Mapping[str, Any]) -> Iterator[str]:
    """Each field number is declared, with its type; none is made up. Faults of a name are said once for its class."""
    bodies = {body["msg_id"]: name for name, about in messages.items() for body in about.get(direction, ())}
    carried = {each.id for each in declarations if each.proto_since is not None}
    yield from (
        f"protobuf of {name} ({number}) is not declared" for number, name in bodies.items() if number not in carried
    )
    for each in declarations:
        if each.id in bodies and each.proto_since is not None:
            yield from level_faults(each.name, bodies[each.id], each.fields, messages, set())
        elif each.proto_since is not None:
            yield f"protobuf of {each.name} is made up"


def level_faults(
    where: str, name: str, members: Sequence[Member], messages: Mapping[str, Any], seen: set[str]
) -> Iterator[str]:
    if name in seen:
        return
    seen.add(name)
    theirs = {each["number"]: each for each in messages[name]["fields"]}
    ours = {each.tag: each for each in tagged(members)}
    for number in theirs.keys() - ours.keys():
        yield f"{where}: {name}.{theirs[number]['name']} ({number}) is not declared"
    for number in ours.keys() - theirs.keys():
        yield f"{where}: {name} has no field {number}"
    for number in theirs.keys() & ours.keys():
        field, member = theirs[number], ours[number]
        kind, many = type_of(member)
        if (kind, many) != (field["type"], field["label"] == "repeated"):
            yield f"{where}: {name}.{field['name']} is declared as {kind}, not {field['type']}"
        elif kind == "message":
            yield from level_faults(where, field["message"], nested(member), messages, seen)
        if isinstance(member, Field) and member.path[-1] != field["name"]:
            yield f"protobuf: {name}.{field['name']} is declared as {member.path[-1]}"


def type_of(member: Field | Inline) -> tuple[str, bool]:
    """The type that protobuf has for it, and whether it is repeated."""
    kind = None if isinstance(member, Inline) else member.type
    many = isinstance(member, Field) and member.many
    match kind:
        case t.Scalar():
            return kind.proto, many
        case Tags():
            return "map", many
        case Mask(message=()):
            return "int32", many
        case _:
            return "message", many


# -- text -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """Text field of ours or theirs, in the same words. `depth` counts the lists around it."""

    name: str
    depth: int
    when: str = ""
    blank: bool = False
    kind: str | None = None
    objects: frozenset[str] = frozenset()
    const: str | None = None


def items(steps: Sequence[Step], depth: int = 0, when: str = "", condition: int = 1) -> Iterator[Item]:
    """Our fields in wire order; of a list of conditions the rows of one kind, as in the tables."""
    for step in steps:
        match step:
            case Const():
                yield Item("", depth, when, const=step.text)
            case Slot():
                yield item(step, (step.path,), depth, when)
            case SplitSlot() | SameSlot():
                yield item(step.slots[0], tuple(slot.path for slot in step.slots), depth, when)
            case Length():
                yield Item("", depth, when, kind="int")
            case Branch():
                yield from items(step.steps, depth, unqualified(step.test.name))
            case Flagged():
                present = f"{step.path[-1]}Present"
                yield Item(present, depth, when, kind="bool")
                yield from items(step.steps, depth, f"{present} is 1")
            case Loop():
                yield Item("", depth, when, kind="int")
                yield from row_items(step, depth + 1, condition)


def row_items(step: Loop, depth: int, condition: int) -> Iterator[Item]:
    match step.field.type:
        case Union():
            yield Item(step.field.type.by.name, depth, kind="int")
            yield from items(step.kinds[condition], depth)
        case Tags():
            yield from (Item(name, depth, kind="str") for name in ("tag", "value"))
        case Record():
            yield from items(step.steps, depth)
        case kind:
            yield Item(step.path[-1], depth, kind=kind.name)


def item(slot: Slot, paths: Sequence[Place], depth: int, when: str) -> Item:
    match slot.field.type:
        case t.Scalar() as scalar:
            kind = {t.ESCAPED: "escaped", t.WHOLE: "int"}.get(scalar, scalar.name)
        case Tags():
            kind = "str"
        case _:  # a mask
            kind = "int"
    return Item(slot.path[-1], depth, when, slot.blank, kind, frozenset(path[-2] for path in paths if len(path) > 1))


def unqualified(test: str) -> str:
    return re.sub(r"\b(?:[a-z]\w*\.)+(\w+)", r"\1", test)


_WHENS = {
    "conditionsSize > 0": "conditions is not empty",
    "conditionsCount > 0": "conditions is not empty",
    "orderType is PEG MID or PEGMID, or PEG BEST with competeAgainstBestOffset = Infinity": (
        "orderType is PEG MID or PEGMID or orderType is PEG BEST or PEGBEST and competeAgainstBestOffset is inf"
    ),
}
"""Conditions that the tables word otherwise."""


def their_items(fields: Sequence[Mapping[str, Any]]) -> Iterator[Item]:
    for each in fields:
        lists = each.get("rep", [])
        when = unqualified(each.get("when", ""))
        yield Item(
            each["n"].rstrip("_"),
            1 if isinstance(lists, str) else len(lists),
            _WHENS.get(when, when),
            bool(each.get("u")),
            "escaped" if each.get("esc") else each.get("t"),
            frozenset([each["o"]] if "o" in each else []),
            each.get("const"),
        )


_VARIANTS = {"last": "tickByTickAllLast", "bid_ask": "tickByTickBidAsk", "mid_point": "tickByTickMidPoint"}


def text_faults(declarations: Sequence[Declaration], layouts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    named = {each.name: each for each in declarations if each.layout is not None}
    by_id = {each.id: each.name for each in named.values()}
    met = set()
    for entry in layouts:
        variant = entry["variant"]
        name = entry.get("method") or _VARIANTS.get(variant) or by_id.get(entry["msg_id"])
        if name not in named:
            yield f"text of {entry['msg_id']} is not declared"
            continue
        met.add(name)
        for layout in entry["layouts"]:
            # The inbound layout of 200 holds for as long as the message is still text.
            last = NEWEST if "msg" in entry and layout["to"] == 200 and "method" not in entry else layout["to"]
            theirs = list(their_items(layout["fields"]))
            for version in range(layout["from"], last + 1):
                yield from version_faults(named[name], version, theirs, variant)
    yield from (f"text of {name} is made up" for name in named.keys() - met)


def version_faults(
    declaration: Declaration, version: int, theirs: Sequence[Item], variant: str | None = None
) -> Iterator[str]:
    ours = [each for each in items(resolve(declaration, version)) if in_variant(each.when, variant)]
    where = f"{declaration.name} at {version}"
    if len(ours) != len(theirs):
        yield f"text of {where} has {len(ours)} fields, not {len(theirs)}"
    for one, other in zip(ours, theirs, strict=False):
        yield from (f"text of {where}: {other.name} {fault}" for fault in item_faults(one, other))
        if one.name not in ("", other.name) and one.const is None:
            yield f"text: {declaration.name}.{other.name} is declared as {one.name}"


def in_variant(when: str, variant: str | None) -> bool:
    """Orders of some types have fields of their own, which the tables show apart."""
    return "orderType" not in when or (variant or "PEG BENCH") in when


_MEANINGLESS = {"version", "sharesAllocation", "faProfile", "eTradeOnly", "firmQuoteOnly", "nbboPriceCap", "unused"}
"""Fields of inbound text that the client reads and drops."""

_REFUSED = {"mktDataOptionsStr", "implVolOptStr", "optPrcOptStr"}
"""Options that the client refuses to send as text, and leaves empty."""

_TEXT_TYPES = {
    **dict.fromkeys(("int", "long", "flag"), "int"),
    **dict.fromkeys(("float", "computed", "whole"), "float"),
    **dict.fromkeys(("str", "code", "amount", "connector"), "str"),
}


def item_faults(ours: Item, theirs: Item) -> Iterator[str]:
    if ours.const is not None:
        if theirs.const is None and theirs.name in (_REFUSED if theirs.kind is None else _MEANINGLESS):
            return
        if ours.const != theirs.const:
            yield "is left out"
        return
    if ours.depth != theirs.depth:
        yield f"stands in {ours.depth} lists, not {theirs.depth}"
    if ours.when != theirs.when and not theirs.depth:
        yield f"is there when {ours.when!r}, not {theirs.when!r}"
    if ours.blank != theirs.blank:
        yield "has another word for unset"
    if theirs.kind and _TEXT_TYPES.get(ours.kind or "", ours.kind) != theirs.kind:
        yield f"is a {ours.kind}, not a {theirs.kind}"
    if not ours.depth and ours.objects and theirs.objects and not ours.objects & theirs.objects:
        yield f"is one of {', '.join(ours.objects)}"


def condition_faults(declarations: Sequence[Declaration], kinds: Mapping[str, Any]) -> Iterator[str]:
    """The other kinds of order conditions, which the layouts of the messages do not show."""
    declared = {str(number): record for number, record in CONDITION.kinds.items()}
    yield from (f"condition {number} is not declared" for number in kinds.keys() ^ declared.keys())
    for declaration in declarations:
        if not any(each.name == "order" for each in declaration.shape.fields):
            continue
        loops = [step for step in resolve(declaration, OLDEST) if isinstance(step, Loop)]
        step = next(each for each in loops if isinstance(each.field.type, Union))
        for number in kinds.keys() & declared.keys():
            ours = list(row_items(step, 1, int(number)))[1:]
            theirs = [replace(each, depth=1) for each in their_items(kinds[number]["fields"])]
            if [each.name.replace("isConjunctionConnection", "connector") for each in ours] != [e.name for e in theirs]:
                yield f"{declaration.name}: condition {number} has other fields"
            for one, other in zip(ours, theirs, strict=False):
                yield from (f"condition {number}: {other.name} {fault}" for fault in item_faults(one, other))


# -- versions and codes -----------------------------------------------------------------------------------------------


def gating_faults(declarations: Sequence[Declaration], since: Mapping[int, int]) -> Iterator[str]:
    for each in declarations:
        if each.proto_since != since.get(each.id):
            yield f"{each.name} is protobuf since {each.proto_since}, not {since.get(each.id)}"


def gates(direction: str) -> dict[int, int]:
    gating = table("proto_gating")
    if direction == "outbound":
        return {each["msg_id"]: each["since"] for each in gating["outbound"].values()}
    ids = table("message_ids")["inbound"]
    return {ids[name]: since for name, since in gating["inbound_expected_since"].items()}


def availability_faults(declarations: Sequence[Declaration], calls: Mapping[str, Any]) -> Iterator[str]:
    """Yield each request and version whose fate (sent, refused or reduced) differs from the table."""
    declared = {each.name: each for each in declarations}
    for name, ranges in by_plain_name(calls).items():
        if name not in declared:
            yield f"{name} is not declared"
            continue
        want = {version: each["result"] for each in ranges for version in range(each["from"], each["to"] + 1)}
        for version in VERSIONS:
            if (got := becomes(declared[name], version)) != want[version]:
                yield f"{name} at {version} is {got}, not {want[version]}"


def becomes(declaration: Declaration, version: int) -> str:
    if not declaration.exists(version):
        return "refused"
    return "proto" if declaration.in_protobuf(version) else "text"


def number_faults(declared: Mapping[str, Any], constants: Mapping[str, int]) -> Iterator[str]:
    """The names of versions, and their numbers."""
    theirs = {re.sub("^(MIN_SERVER_VER|UNIFIED_VERSION)_", "", name): number for name, number in constants.items()}
    ours = {name: number for name, number in declared.items() if name.isupper() and name not in ("OLDEST", "NEWEST")}
    yield from (f"version {name} is not declared" for name in theirs.keys() - ours.keys())
    yield from (f"version {name} is made up" for name in ours.keys() - theirs.keys())
    yield from (
        f"version {name} is not {theirs[name]}" for name in theirs.keys() & ours.keys() if ours[name] != theirs[name]
    )


def code_faults(codes: Mapping[str, Any]) -> Iterator[str]:
    """Enumerations, masks and the values that mean unset."""
    assets, policies = (
        CONTRACT_DETAILS.field("fundAssetType"),
        CONTRACT_DETAILS.field("fundDistributionPolicyIndicator"),
    )
    kinds = {str(number): record.name for number, record in CONDITION.kinds.items()}
    last, bid_ask, middle = (MESSAGES[_VARIANTS[each]].kind for each in ("last", "bid_ask", "mid_point"))
    ticks = dict.fromkeys("12", last) | {"3": bid_ask, "4": middle}
    sizes = MESSAGES["tickPrice"].shape.field("size").only
    unset = codes["unset"]
    words = {key: f"{name.title().replace('_', '')}Condition" for key, name in codes["order_condition_type"].items()}
    same: dict[str, tuple[Any, Any]] = {
        "fund asset types": ({*known(assets), "None"}, {*codes["fund_asset_type"]}),
        "fund distribution policies": ({*known(policies), "None"}, {*codes["fund_distribution_policy"]}),
        "order conditions": (kinds, words),
        "kinds of tick-by-tick": (
            {number for number, kind in ticks.items() if kind and int(number) in kind[1]},
            {*codes["tick_by_tick_type"]},
        ),
        "ticks with a size": (
            sizes and {str(number) for number in sizes.about[("tickType",)]},
            {*codes["price_tick_to_size_tick"]},
        ),
        "the unset int": (t.UNSET_INT, unset["int"]),
        "the unset long": (t.UNSET_LONG, unset["long"]),
        "the unset double": (t.UNSET_FLOAT, float(unset["double"])),
        "unset decimals": (set(unset["decimal_inbound_texts"]) - t.UNSET_DECIMALS, set()),
    }
    yield from (f"{what}: {ours!r}, not {theirs!r}" for what, (ours, theirs) in same.items() if ours != theirs)
    for where, bits in codes["masks"].items():
        if mask_at(where) != {int(bit): name for bit, name in bits.items()}:
            yield f"mask {where} has other bits"


def known(field: Field) -> tuple[str, ...]:
    return field.type.known if isinstance(field.type, t.Scalar) else ()


_MASKS = {
    "TICK_PRICE.attrMask": ("tickPrice", "attrib"),
    "TICK_BY_TICK.last.mask": ("tickByTickAllLast", "tickAttribLast"),
    "TICK_BY_TICK.bid_ask.mask": ("tickByTickBidAsk", "tickAttribBidAsk"),
    "HISTORICAL_TICKS_LAST.mask": ("historicalTicksLast", "ticks.tickAttribLast"),
    "HISTORICAL_TICKS_BID_ASK.mask": ("historicalTicksBidAsk", "ticks.tickAttribBidAsk"),
}


def mask_at(where: str) -> dict[int, str]:
    name, path = _MASKS[where]
    record: Any = MESSAGES[name].shape
    for part in path.split("."):
        record = record.field(part).type
    return {1 << i: bit for i, bit in enumerate(record.bits)}
