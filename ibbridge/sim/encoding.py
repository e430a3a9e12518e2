"""Frames with the fill values of a real gateway.

The declarations say which fields a message has; this module says what a gateway writes into a field without a value. In
text a gateway writes words and sentinels of its own (`?`, 2147483647, 1.7976931348623157E308); in protobuf a gateway
leaves out every field that it did not set. Both are measured against captured frames. The module knows no socket and no
state.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from ibbridge.codec import frame
from ibbridge.codec.framing import PROTOBUF_IDS
from ibbridge.codec.layout import Slot, resolve
from ibbridge.codec.messages import MESSAGES
from ibbridge.codec.proto import attribute, message_class, nested, tagged
from ibbridge.codec.schema import Const, Field, Inline, Record, Spread, Tags, Union
from ibbridge.codec.versions import raw_ids

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ibbridge.codec import Dialect
    from ibbridge.codec.schema import Declaration, Member

_LENGTH = 4
_UNSET_INT, _UNSET_LONG, _UNSET_FLOAT = 2147483647, 9223372036854775807, 1.7976931348623157e308
_UNSET_AMOUNT = "1.7976931348623157E308"
_UNSET_AS_PYTHON_HAS_IT = b"1.7976931348623157e+308"
_UNSET_SIZE = "-9223372036854775808"

_NOTHING = (0, "", "0", _UNSET_INT, _UNSET_LONG, _UNSET_FLOAT)

_MARGINS = tuple(
    f"{margin}{when}"
    for when in ("Before", "Change", "After")
    for margin in ("initMargin", "maintMargin", "equityWithLoan")
)
_NO_RIGHT = {"contract": {"right": "?"}}
_ANY_ORDER = {
    "displaySize": _UNSET_INT, "deltaNeutralOpenClose": "?", "scaleInitLevelSize": _UNSET_INT,
    "scaleSubsLevelSize": _UNSET_INT, "cashQty": 0.0, "manualOrderIndicator": _UNSET_INT,
}  # fmt: skip
_NO_MARGINS: dict[str, Any] = dict.fromkeys(_MARGINS, _UNSET_AMOUNT)
_NO_MARGINS |= dict.fromkeys((f"{each}OutsideRTH" for each in _MARGINS), _UNSET_FLOAT)

IN_TEXT: dict[str, dict[str, Any]] = {
    "openOrder": _NO_RIGHT | {"order": _ANY_ORDER, "orderState": _NO_MARGINS | {"suggestedSize": _UNSET_SIZE}},
    "tickPrice": {"size": 0.0},
    "updatePortfolio": {"contract": {"right": "0"}},
    "contractDetails": {"contractDetails": {"aggGroup": _UNSET_INT}},
    "completedOrder": _NO_RIGHT | {"order": _ANY_ORDER | {"refFuturesConId": _UNSET_INT, "parentPermId": _UNSET_LONG}},
}
"""Values that a gateway writes in text, and not in protobuf, into fields without a value."""

IN_PROTOBUF: dict[str, dict[str, Any]] = {
    "openOrder": {
        "order": {
            "parentId": 0, "triggerMethod": 0, "deltaNeutralShortSaleSlot": 0, "origin": 0, "shortSaleSlot": 0,
            "exemptCode": -1, "adjustableTrailingUnit": 0,
        },
        "contract": {"comboLegs": [{"openClose": 0, "shortSaleSlot": 0, "exemptCode": -1}]},
    },
    "execDetails": {"execution": {"optExerciseOrLapseType": -1}},
    "tickPrice": {"size": 0.0},
}  # fmt: skip
"""Values that a gateway sends in protobuf into fields without a value; for a list, the values of each row."""

BLANK_IN_TEXT: dict[str, tuple[str, ...]] = {
    "execDetails": ("execution.evMultiplier",),
    "contractDetails": ("contractDetails.evMultiplier",),
    "bondContractDetails": ("contractDetails.evMultiplier", "contractDetails.coupon"),
    "commissionAndFeesReport": ("commissionAndFeesReport.yieldRedemptionDate",),
}
"""Numeric fields that a gateway leaves empty in text if the number is zero."""

NEVER_IN_PROTOBUF = {
    "openOrder": ("order.transmit",),
    "completedOrder": ("order.transmit",),
    "updatePortfolio": ("contract.primaryExchange",),
}
"""Fields that a gateway does not send in protobuf although they have a value."""


_WHOLE = frozenset(("tickPrice", "tickSize", "tickGeneric", "tickString", "updateMktDepth", "updateMktDepthL2"))
"""Messages that need no pruning, because the host always sets every field. These messages are frequent."""


class Encoder:
    """Encoder of a host's messages in one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def put(self, name: str, data: Mapping[str, Any]) -> bytes:
        """Return the frame of a message, length included."""
        if MESSAGES[name].in_protobuf(self._dialect.version):
            given = _BEFORE_PROTOBUF[name](data) if name in _BEFORE_PROTOBUF else data
            given = _filled(given, IN_PROTOBUF[name]) if name in IN_PROTOBUF else given
            if name in _WHOLE:
                return self._dialect.put(name, given)
            return _sparse(MESSAGES[name], given, self._dialect.put(name, given))
        return self._text(name, data)

    def _text(self, name: str, data: Mapping[str, Any]) -> bytes:
        version, words, finish = self._dialect.version, IN_TEXT.get(name), _FINISHES.get(name)
        given = _BEFORE_TEXT[name](data) if name in _BEFORE_TEXT else data
        plain = self._dialect.put(name, given if words is None else _filled(given, words))
        if finish is None and name not in BLANK_IN_TEXT:
            return plain
        head, body = _parted(plain[_LENGTH:], version)
        fields = body.split(b"\0")[:-1]
        for place in _blank_places(name, version):
            if fields[place] == b"0":
                fields[place] = b""
        if finish is not None:
            fields = finish(fields, version, data)
        return frame(head + b"\0".join(fields) + b"\0")


# -- text ------------------------------------------------------------------------------------------------------------


def _parted(payload: bytes, version: int) -> tuple[bytes, bytes]:
    """Return the id of a payload, as it is on the wire, and its fields."""
    ends = _LENGTH if raw_ids(version) else payload.index(b"\0") + 1
    return payload[:ends], payload[ends:]


def _filled(data: Mapping[str, Any], words: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data with the values of `words` in the fields that have none."""
    out = dict(data)
    for name, word in words.items():
        if isinstance(word, dict):
            out[name] = _filled(out.get(name) or {}, word)
        elif isinstance(word, list):
            out[name] = [_filled(row, word[0]) for row in out.get(name) or ()]
        elif out.get(name) is None:
            out[name] = word
    return out


def _with_zone(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Append the time zone to the time of the last trade."""
    details = data["contractDetails"]
    if not details.get("lastTradeTime"):
        return data
    time = f"{details['lastTradeTime']} {details['timeZoneId']}"
    return {**data, "contractDetails": {**details, "lastTradeTime": time}}


def _plainer_details(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out fields that gateways were not seen to send in text, of options and of other contracts."""
    data = _with_zone(data)
    details = data["contractDetails"]
    option = details["contract"].get("secType") == "OPT"
    unsaid = ("lastTradeTime", "industry", "category", "subcategory") if option else ("evRule",)
    return {**data, "contractDetails": {name: value for name, value in details.items() if name not in unsaid}}


_BEFORE_TEXT: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    "contractDetails": _plainer_details,
    "bondContractDetails": _plainer_details,
}


@cache
def _blank_places(name: str, version: int) -> tuple[int, ...]:
    """Return the positions of the numeric fields that may be empty. No list comes before any of these fields."""
    if not _as_captured(version):
        return ()
    steps, wanted = resolve(MESSAGES[name], version), BLANK_IN_TEXT.get(name, ())
    return tuple(place for place, step in enumerate(steps) if isinstance(step, Slot) and ".".join(step.path) in wanted)


def _as_captured(version: int) -> bool:
    """Return True if a gateway of this version behaves like the gateways whose frames were captured.

    Clients that speak nothing newer than 178 do not read an empty number, and no frame shows when empty numbers came.
    The boundary used here is `historicalDataEnd`, a message that came a little before the oldest capture.
    """
    return MESSAGES["historicalDataEnd"].exists(version)


def _finish_open_order(fields: list[bytes], version: int, data: Mapping[str, Any]) -> list[bytes]:
    """Fill in what the declaration leaves empty: the allocation, and the second stop of a limit order.

    An order that was entered by hand has fields behind the last field that any client reads.
    """
    order, by_hand = data["order"], not data["orderId"]
    perm_id, status = order.get("permId", 0), data["orderState"]["status"]
    fields = [_UNSET_AMOUNT.encode() if each == _UNSET_AS_PYTHON_HAS_IT else each for each in fields]
    shares, stop = _open_order_places(version)
    fields[shares] = f"{perm_id}.{by_hand:d}/{order.get('account', '')}/100".encode()
    if (price := second_stop(data)) is not None:
        fields[stop] = f"{price}".encode()
    if by_hand:
        more = ("", "", "", "+3", "0", status, "0", "1", "0", perm_id, "0", "0", "0", "", "0")
        fields += [str(each).encode() for each in more]
    return fields


def second_stop(data: Mapping[str, Any]) -> float | None:
    """Return what a gateway sends as stop of a stock's limit order (its limit plus 1); None for other orders."""
    order = data["order"]
    if data["contract"].get("secType") != "STK" or order.get("orderType") != "LMT" or order.get("trailStopPrice"):
        return None
    price = order.get("lmtPrice")
    return None if price is None else round(float(price) + 1.0, 8)


@cache
def _open_order_places(version: int) -> tuple[int, int]:
    """Return the positions of the allocation, from the front, and of the second stop, from the end."""
    steps = resolve(MESSAGES["openOrder"], version)
    shares = next(place for place, step in enumerate(steps) if isinstance(step, Const))
    stop = next(place for place, step in enumerate(steps) if isinstance(step, Slot) and step.again)
    return shares, stop - len(steps)


_FINISHES: dict[str, Callable[[list[bytes], int, Mapping[str, Any]], list[bytes]]] = {"openOrder": _finish_open_order}


# -- protobuf --------------------------------------------------------------------------------------------------------


def _sparse(message: Declaration, data: Mapping[str, Any], whole: bytes) -> bytes:
    """Return a frame without the fields that the codec has written although the host has not set them."""
    m = message_class(message).FromString(whole[2 * _LENGTH :])
    given = message.swap.write(dict(data)) if message.swap else data
    _prune(m, message.fields, given)
    for path in NEVER_IN_PROTOBUF.get(message.name, ()):
        _clear(m, message.fields, path.split("."))
    return frame((message.id + PROTOBUF_IDS).to_bytes(4, "big") + m.SerializeToString(deterministic=True))


def _with_second_stop(data: Mapping[str, Any]) -> Mapping[str, Any]:
    price = second_stop(data)
    return data if price is None else {**data, "order": {**data["order"], "trailStopPrice": price}}


def _without_bit_zero(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out a bit number of 0, as a gateway does."""
    rows = [{name: value for name, value in row.items() if value != 0} for row in data["smartComponentMap"]]
    return {**data, "smartComponentMap": rows}


_BEFORE_PROTOBUF: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    "contractDetails": _with_zone,
    "openOrder": _with_second_stop,
    "smartComponents": _without_bit_zero,
}


def _prune(m: Any, members: Sequence[Member], data: Mapping[str, Any]) -> None:
    for member in members:
        if isinstance(member, Spread):
            _prune(m, member.record.fields, data.get(member.name) or {})
        elif isinstance(member, Inline) and member.tag:
            _prune(getattr(m, attribute(member)), member.fields, data)
        elif isinstance(member, Field) and member.tag:
            _prune_field(m, member, data)


def _prune_field(m: Any, field: Field, data: Mapping[str, Any]) -> None:
    given: Any = data
    for name in field.path:
        given = None if given is None else given.get(name)
    name = attribute(field)
    if isinstance(field.type, Tags):
        return
    if field.many:
        if isinstance(field.type, (Record, Union)):
            for inner, row in zip(getattr(m, name), given or (), strict=False):
                _prune(inner, _members_of(field, row), row)
    elif given is None:
        if m.HasField(name) and not field.always and field.absent in (field.default, None):
            _clear_empty(m, name, field)
    elif isinstance(field.type, Record):
        _prune(getattr(m, name), nested(field), given)


def _clear_empty(m: Any, name: str, field: Field) -> None:
    """Clear a field that the host has not set, unless the codec wrote a value there that tells messages apart."""
    if isinstance(field.type, (Record, Union)) or getattr(m, name) in _NOTHING:
        m.ClearField(name)


def _members_of(field: Field, row: Mapping[str, Any]) -> Sequence[Member]:
    if isinstance(field.type, Union):
        return field.type.kinds[row[field.type.by.name]].fields
    return nested(field)


def _clear(m: Any, members: Sequence[Member], path: Sequence[str]) -> None:
    head, *rest = path
    found = next(member for member in tagged(members) if isinstance(member, Field) and member.name == head)
    if rest:
        _clear(getattr(m, attribute(found)), nested(found), rest)
    else:
        m.ClearField(attribute(found))
