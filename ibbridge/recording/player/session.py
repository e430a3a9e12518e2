"""Session of one client with one recorded connection: matches its requests with recorded ones, and translates ids.

A client sends the recorded requests earlier or later, and may use other ids. Each request is tied to the first recorded
request that asks for the same. From then on the recorded ids in the messages of TWS are replaced by the client's ids.
Responses to a recorded request that has not come are left out, because another request may use its id now. This module
is pure: the server says when a recorded request is reached, and how long to wait.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.codec import Dialect, Message, Undecodable, frame
from ibbridge.codec.schema import Kind
from ibbridge.protocol.arguments import canonical
from ibbridge.recording.player import id_mapping
from ibbridge.recording.player.id_mapping import SAID, Use
from ibbridge.recording.player.script import CLOCKS

if TYPE_CHECKING:
    from ibbridge.recording.player.id_mapping import Key
    from ibbridge.recording.player.script import Part

_NOT_VALID = 321, "Error validating request.-'{name}' : cause - {why}"
_REJECTED = 201, "Order rejected - reason:{why}"
_NOT_CHANGED = 105, "Order being modified does not match original order. {why}"
_NOT_CANCELLED = 161, "Cancel attempted when order is not in a cancellable state. {why}"
"""IB's error codes and texts."""

_SILENT = (Kind.SETTING, Kind.FORGET)
"""Kinds of requests that TWS does not answer."""


class PlayedAnswer(NamedTuple):
    """Immediate result of a client's request: bytes to send, and a remark for the log, if any."""

    data: bytes = b""
    remark: str = ""


class PlayerSession:
    """Connection being played to a client. `orders` maps the client's order ids to recorded ones, and is updated."""

    def __init__(self, part: Part, orders: dict[int, int] | None = None) -> None:
        self._part = part
        self._reads, self._writes = Dialect.client(part.version), Dialect.server(part.version)
        self._client = part.client
        self._expected: dict[Key, deque[int]] = defaultdict(deque)
        for index, asked in enumerate(part.requests):
            if not asked.clock:
                self._expected[asked.key].append(index)
        self._tied: dict[int, int | None] = {}  # id by index of the recorded request; None: no id, or cancelled
        self._passed = -1  # the last recorded request that was reached
        # Recorded ids by the client's ids, and the client's ids by recorded ids (None: leave their messages out).
        self._recorded = {Use.REQUEST: dict[int, int](), Use.ORDER: {} if orders is None else orders}
        back: dict[int, int | None] = {recorded: given for given, recorded in self._recorded[Use.ORDER].items()}
        self._given: dict[Use, dict[int, int | None]] = {Use.REQUEST: {}, Use.ORDER: back, Use.EITHER: dict(back)}
        self._indexes: dict[int, int] = {}  # of recorded requests, by the client's id

    # -- what the client asks

    def asked(self, request: Message | Undecodable, ts: int) -> PlayedAnswer:
        """Process the client's next request, and return the immediate answer. The recording is at time `ts` (µs)."""
        if isinstance(request, Undecodable):
            index = self._take(("", request.raw.hex()))
            self._tied |= {} if index is None else {index: None}
            return PlayedAnswer(
                remark="a request cannot be decoded and is not in the recording" if index is None else ""
            )
        if request.name in CLOCKS:
            return self._clock(request.name, ts)
        if request.name == "startApi":
            self._client = request.data["clientId"]
        number = id_mapping.number_of(request)
        again = id_mapping.is_order(request) and number in self._recorded[Use.ORDER]
        index = self._take(id_mapping.key_of(request, self._client, self._was, again=again))
        if index is None:
            return self._unknown(request, ts, again=again)
        self._tied[index] = number
        recorded = self._part.requests[index].number
        if number is not None and recorded is not None and not id_mapping.declared(request).target:
            self._indexes[number] = index
            self._recorded[id_mapping.space(request)][number] = recorded
        return self._late(request, index, ts, again=again) if index <= self._passed else PlayedAnswer()

    def _was(self, use: Use, number: int) -> int:
        return self._recorded[use].get(number, number)

    def _take(self, key: Key) -> int | None:
        """Return the index of the recorded request with this key, or None.

        It is the next one to come, or else the last of those that the recording has passed already.
        """
        expected = self._expected.get(key)
        if not expected:
            return None
        while len(expected) > 1 and expected[0] <= self._passed:
            expected.popleft()
        return expected.popleft()

    def _late(self, request: Message, index: int, ts: int, *, again: bool) -> PlayedAnswer:
        """Return the answer to a request that the recording has passed. A subscription joins at the current step."""
        declaration = id_mapping.declared(request)
        if declaration.subscribes(request.data):
            self._number(index)
            return PlayedAnswer(
                remark=f"{request.name} came late: its messages begin at the present time of the recording"
            )
        if again or declaration.does in _SILENT:
            return PlayedAnswer(remark=f"{request.name} came late: the recording has passed its responses")
        return self._refused(request, ts, f"{request.name} came late: the recording has passed its responses")

    def _unknown(self, request: Message, ts: int, *, again: bool) -> PlayedAnswer:
        """Return the answer to a request that the recording does not have, or has no more of."""
        why = f"{request.name} is not in the recording"
        declaration = id_mapping.declared(request)
        if declaration.does is Kind.SETTING:
            return PlayedAnswer(remark=f"{why}, and changes nothing: {canonical(request.data)}")
        if declaration.cancels and request.name != "cancelOrder":
            index = self._indexes.get(id_mapping.number_of(request) or 0)
            if index is not None:
                self._tied[index] = None
                if index <= self._passed:
                    self._number(index)
            return PlayedAnswer(remark=f"{why}: further messages of the request that it cancels are left out")
        return self._refused(request, ts, why, again=again)

    def _refused(self, request: Message, ts: int, why: str, *, again: bool = False) -> PlayedAnswer:
        if id_mapping.is_order(request):
            code, text = _NOT_CHANGED if again else _REJECTED
        else:
            code, text = _NOT_CANCELLED if request.name == "cancelOrder" else _NOT_VALID
        number = id_mapping.number_of(request)
        error = {
            "reqId": -1 if number is None else number,
            "errorTime": ts // 1000,
            "errorCode": code,
            "errorString": text.format(name=request.name, why=why),
            "advancedOrderRejectJson": "",
        }
        return PlayedAnswer(self._writes.put("error", error), f"{why}: {canonical(request.data)[:300]}")

    def _clock(self, name: str, ts: int) -> PlayedAnswer:
        answer = {"currentTime": {"time": ts // 1_000_000}, "currentTimeInMillis": {"timeInMillis": ts // 1000}}
        return PlayedAnswer(self._writes.put(CLOCKS[name], answer[CLOCKS[name]]))

    # -- what TWS said

    def has(self, index: int) -> bool:
        """Return True if the recorded request at `index` has come, or cannot come.

        A cancel, or the change of an order, cannot come if the request that it refers to has not come either.
        """
        asked = self._part.requests[index]
        if index in self._tied or asked.clock:
            return True
        if not isinstance(asked.request, Message) or asked.number is None:
            return False
        about = id_mapping.is_order(asked.request) or id_mapping.declared(asked.request).target is not None
        return about and self._given[id_mapping.space(asked.request)].get(asked.number, asked.number) is None

    def reached(self, index: int) -> None:
        """Continue the recording after this request, which has come or has timed out."""
        self._passed = index
        self._number(index)

    def _number(self, index: int) -> None:
        """Map the recorded id of a request to the client's id from now on; None leaves its messages out."""
        asked = self._part.requests[index]
        if asked.number is None or not isinstance(asked.request, Message):
            return
        given = self._tied.get(index)
        known = self._given[id_mapping.space(asked.request)]
        if id_mapping.declared(asked.request).target or (
            id_mapping.is_order(asked.request) and known.get(asked.number)
        ):
            return  # it refers to an earlier request or order, which continues whether this one came or not
        known[asked.number] = self._given[Use.EITHER][asked.number] = given

    def said(self, payload: bytes) -> bytes | None:
        """Return a recorded payload as a frame for this client, or None if it must be left out."""
        message = self._reads.read(payload)
        if not isinstance(message, Message) or message.name not in SAID:
            return frame(payload)
        if message.name in CLOCKS.values():
            return None
        data = self._translated(message)
        if data is None:
            return None
        return frame(payload) if data is message.data else self._writes.put(message.name, data)

    def _translated(self, message: Message) -> dict[str, Any] | None:
        """Return the data with the client's ids, the same object if no id changes; None if it must be left out."""
        data: dict[str, Any] = message.data
        own = self._is_own(message)
        for path, use in SAID[message.name]:
            value = id_mapping.at(data, path)
            if not isinstance(value, int):
                continue
            if use is Use.CLIENT:
                given = self._client if own and value == self._part.client else value
            else:
                given = self._given[Use.ORDER if use is Use.RELATED else use].get(value, value) if own else value
                if given is None and use is not Use.RELATED:
                    return None
            if given is not None and given != value:
                data = id_mapping.put(data, path, given)
        return data

    def _is_own(self, message: Message) -> bool:
        """Return True if the order ids in a message belong to the recorded client, and not to another client."""
        clients = (id_mapping.at(message.data, path) for path, use in SAID[message.name] if use is Use.CLIENT)
        return all(client in (None, self._part.client) for client in clients)
