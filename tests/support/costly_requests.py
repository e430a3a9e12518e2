"""Requests as large as one may be, each of a kind that costs more than others: bytes, by what is in them."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

import msgpack

from ibbridge.codec.messages.contracts import CONTRACT as FULL
from ibbridge.codec.messages.orders import ORDER
from ibbridge.codec.schema import MOST_ROWS
from ibbridge.config.model import BusConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = BusConfig().max_request
CONTRACT = {"symbol": "AAPL", "secType": "STK", "exchange": "SMART", "currency": "USD"}
PLACED = {"action": "BUY", "orderType": "LMT", "totalQuantity": 1, "lmtPrice": 1.0}
COLLIDING = 2**61 - 1
"""Numbers that differ by this have one hash."""


def requests() -> Iterator[tuple[str, bytes]]:
    """Every request, with its name."""
    for name, args in _raw():
        yield name, _filled(args)
    for name, command in _packed():
        packed = msgpack.packb(command)
        assert len(packed) <= SIZE, name
        yield name, packed


def _filled(args: bytes) -> bytes:
    """A placeOrder with these bytes as its arguments, as many of them as there is room for."""
    head = b"\x85\xa2id\x01\xa3cmd\xaaplaceOrder\xa6client\xa1a\xa3key\xa1k\xa4args"
    return (head + args)[:SIZE]


def _list(of: bytes) -> bytes:
    count = (SIZE - 100) // len(of)
    return b"\x81\xa1x\xdd" + count.to_bytes(4, "big") + of * count


def _map(pairs: Iterator[bytes]) -> bytes:
    body, count = bytearray(), 0
    for pair in pairs:
        if len(body) + len(pair) > SIZE - 100:
            break
        body += pair
        count += 1
    return b"\xdf" + count.to_bytes(4, "big") + bytes(body)


_P1, _P2, _P5 = 11_400_714_785_074_694_791, 14_029_467_366_897_019_727, 2_870_177_450_012_600_261
_64 = 2**64
_BACK_1, _BACK_2 = pow(_P1, -1, _64), pow(_P2, -1, _64)


def _of_one_hash() -> Iterator[bytes]:
    """Timestamps whose hashes are all alike, so that a map of them is built in quadratic time.

    The hash is that of the pair of seconds and nanoseconds: a sum, a rotation and a product for each of the two. These
    can be undone, so for any nanoseconds there are seconds that come to the same; a quarter of them fit a number.
    """
    for nanoseconds in range(10**9):
        before = (0 - nanoseconds * _P2) % _64 * _BACK_1 % _64
        turned = (before >> 31 | before << 33) % _64
        seconds = (turned - _P5) * _BACK_2 % _64
        seconds -= _64 if seconds >= _64 // 2 else 0
        if abs(seconds) < COLLIDING:
            yield b"\xc7\x0c\xff" + nanoseconds.to_bytes(4, "big") + seconds.to_bytes(8, "big", signed=True) + b"\x00"


def _raw() -> Iterator[tuple[str, bytes]]:
    """Yield values that are expensive for msgpack itself."""
    yield "timestamps as keys", _map(_of_one_hash())
    yield "timestamps", _list(b"\xd6\xff\x00\x00\x00\x01")
    yield "extension types", _list(b"\xd4\x05\x00")
    yield "empty lists", _list(b"\x90")
    yield "empty maps", _list(b"\x80")
    yield "lists of one", _list(b"\x91\x90")
    yield "small maps", _list(b"\x81\xa1a\x90")
    yield "numbers", _list(b"\x01")
    yield "fractions", _list(b"\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a")
    yield "short texts", _list(b"\xa1x")
    yield "short bytes", _list(b"\xc4\x01x")
    yield "numbers as keys", _map(msgpack.packb(number * COLLIDING % 2**64) + b"\xc0" for number in range(SIZE))
    yield "texts as keys", _map(msgpack.packb(f"{number:x}") + b"\xc0" for number in range(SIZE))
    texts = [msgpack.packb(f"{number:04x}") + b"\xc0" for number in range(4_900)]
    yield "one of many keys twice", _map(iter([*texts, texts[-1]]))
    yield "one key again and again", _map(b"\xa1a\xc0" for _ in range(SIZE))
    yield "bytes as keys", _map(b"\xc4\x04%04x\xc0" % (number % 65_536) for number in range(SIZE))
    yield "lists in lists", b"\x81\xa1x" + b"\x91" * (SIZE - 100)
    yield "maps in maps", b"\x81\xa1x" * (SIZE // 3)
    yield "a list that is not there", b"\x81\xa1x\xdd\xff\xff\xff\xff" + b"\x01" * SIZE


def _packed() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield commands that can be unpacked, but whose arguments are expensive to check."""
    for text in ("a", "\x01", "\N{SNOWMAN}", " ", ".", "9"):
        yield from _long(text)
    for word in ("deltaNeutralDesignatedLocatio", "qwertzuiop", string.ascii_letters):
        yield from _named(word)
    yield from _many()


def _long(character: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A text that fills the request, wherever one may be."""
    long = character * ((SIZE - 400) // len(character.encode()))
    contract: dict[str, Any] = {"contract": CONTRACT}
    whole = {"id": 1, "cmd": "placeOrder", "client": "a", "args": {}}
    found = {
        **{where: {**whole, where: long} for where in ("id", "cmd", "client", "key", "not_after", "args")},
        "a key of a command": {**whole, long: 1},
        "a name": _command("placeOrder", {long: 1}),
        "symbol": _command("reqMktData", {"contract": {**CONTRACT, "symbol": long}}),
        "multiplier": _command("reqMktData", {"contract": {**CONTRACT, "multiplier": long}}),
        "totalQuantity": _order(totalQuantity=long),
        "orderType": _order(orderType=long),
        "durationStr": _command("reqHistoricalData", {**contract, "durationStr": long}),
        "after": _command("snapshot", {"after": long}),
        "prefix": _command("snapshot", {"prefix": long}),
        "stream": _command("replay", {"stream": long, "from": 1}),
        "reason": _command("halt", {"reason": long}),
        "the id of a cancel": _command("cancelMktData", {"id": long}),
        "cxml": _command("replaceFA", {"faData": 1, "cxml": long[:999_990]}),
        "filter": _command("reqWshEventData", {"wshEventData": {"filter": long[:65_536]}}),
    }
    yield from ((f"{where} of {character!a}", command) for where, command in found.items())


def _named(word: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield commands with as many misspelt names as possible, in every place for names."""
    names = {f"{word}{number:x}": 1 for number in range(4_000)}
    kind = word[:8]
    yield f"names of an order like {kind}", _order(**names)
    yield f"names of a contract like {kind}", _command("reqMktData", {"contract": {**CONTRACT, **names}})
    yield f"names of a command like {kind}", {**_command("placeOrder", {}), **names}
    yield f"names of a cancel like {kind}", _command("cancelMktData", names)
    yield f"names of a snapshot like {kind}", _command("snapshot", names)
    yield f"a command like {kind}", _command(word, {})


def _many() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield commands with as many faults, and as long lists, as possible."""
    kinds = [each.name for each in ORDER.shape]
    near = {f"{name}x": 1 for name in kinds} | {f"x{name}": 1 for name in kinds}
    yield "an order that is all wrong", _order(**{name: [] for name in kinds})
    yield "an order of almost right names", _order(**near)
    yield "an order of wrong words", _order(**dict.fromkeys(kinds, "TRAILLMTT"))
    leg = {"conId": 1, "ratio": 1, "action": "BUY", "exchange": "SMART"}
    combo = {**CONTRACT, "secType": "BAG", "comboLegs": [leg] * FULL.field("comboLegs").rows}
    yield "many legs of an order", _command("placeOrder", {"contract": combo, "order": PLACED}, key="k")
    yield "many legs of data", _command("reqMktData", {"contract": combo})
    condition = {"condType": 3, "isMore": True, "time": "20261218 10:00:00 US/Eastern"}
    yield "many conditions", _order(conditions=[condition] * ORDER.field("conditions").rows)
    wrong = [{"condTyp": 3, "tiem": ""}] * ORDER.field("conditions").rows
    yield "many wrong conditions", _order(conditions=wrong)
    tags = [{"tag": f"tag{number}", "value": "v" * 990} for number in range(MOST_ROWS)]
    for where in ("algoParams", "orderMiscOptions", "smartComboRoutingParams"):
        yield f"many {where}", _order(**{where: tags}, algoStrategy="Adaptive")
    scan = {"subscription": {"scanCode": "HOT"}, "scannerSubscriptionFilterOptions": tags}
    yield "many filters", _command("reqScannerSubscription", scan)
    yield "quantities beyond reason", _order(totalQuantity="1e999999999", cashQty=1e308)
    wide = dict.fromkeys((each.name for each in FULL.shape), "x" * 60)
    yield "a contract of long texts", _command("reqMktData", {"contract": wide})
    yield "as many values as may be", _command("placeOrder", {"x": [[number] for number in range(4_900)]})


def _command(cmd: str, args: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": 1, "cmd": cmd, "client": "a", "args": args, **more}


def _order(**order: Any) -> dict[str, Any]:
    return _command("placeOrder", {"contract": CONTRACT, "order": {**PLACED, **order}}, key="k")
