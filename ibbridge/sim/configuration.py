"""Configuration of the simulated host, and the two requests that read and change it.

A change that makes the host less careful needs a second call, which accepts the warning that answered the first.
Read-only mode and the master client have an effect here; the other settings are stored and returned.
"""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple

from ibbridge.sim.data_files import table
from ibbridge.sim.rejections import RequestRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from ibbridge.sim.context import ClientSession, Data, SimulationContext
    from ibbridge.sim.orders.order_entry import OrderEntry

ORDER_REQUESTS = frozenset(
    ("placeOrder", "cancelOrder", "reqGlobalCancel", "exerciseOptions", "updateConfig", "reqIds", "reqOpenOrders",
     "reqCompletedOrders")
)  # fmt: skip
"""Requests that a host in read-only mode refuses."""

_NOT_SET = ("reqId", "messages", "acceptedWarnings", "resetAPIOrderSequence")


class Warned(NamedTuple):
    """Value of a setting that needs a second call, with the warning."""

    number: int
    title: str
    message: str
    when: bool


_TABLES = table("configuration.yaml")
_WARNINGS = {path: Warned(**row) for path, row in _TABLES["warnings"].items()}


def read_only() -> RequestRejected:
    """Return TWS's error for an order in read-only mode."""
    return RequestRejected(
        321, "Error validating request.-'cc' : cause - The API interface is currently in Read-Only mode."
    )


def _one_of(*values: str) -> tuple[Callable[[Any], bool], str]:
    return values.__contains__, f"must be one of {', '.join(values)}"


_LIMITS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "api.settings.socketPort": (lambda value: 0 < value < 65536, "must be from 1 to 65535"),
    "api.settings.masterClientId": (lambda value: value >= 0, "must not be negative"),
    "api.settings.bulkDataTimeout": (lambda value: value > 0, "must be positive"),
    "api.settings.historicalDataMaxSize": (lambda value: value > 0, "must be positive"),
    "api.settings.loggingLevel": _one_of("System", "Error", "Warning", "Information", "Detail"),
    "api.settings.sendInstrumentTimezone": _one_of("operator", "instrument", "UTC"),
    "lockAndExit.autoLogoffType": _one_of("logoff", "restart"),
}


class Configuration:
    """Configuration of the host, and the handlers of the two requests about it."""

    def __init__(self, context: SimulationContext, orders: OrderEntry) -> None:
        self._context = context
        self._orders = orders
        self._config = deepcopy(_TABLES["at_first"])
        if context.master is not None:
            self._config["api"]["settings"]["masterClientId"] = context.master

    @property
    def read_only(self) -> bool:
        """Return True if orders are refused."""
        return bool(self._config["api"]["settings"]["readOnlyApi"])

    def show(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Send the whole configuration."""
        request = (args.get("configRequestProto") or {}).get("reqId")
        session.send("configResponse", {"configResponseProto": {"reqId": request, **deepcopy(self._config)}})

    def update(self, session: ClientSession, args: Mapping[str, Any]) -> None:
        """Apply all requested changes or none: an error or an unaccepted warning stops every change."""
        wanted = args.get("updateConfigRequestProto") or {}
        changes = [(path, value) for path, value in _given(wanted) if self._at(path) != value]
        errors = [*_faults(changes), *self._message_faults(wanted)]
        accepted = {each.get("messageId") for each in wanted.get("acceptedWarnings") or ()}
        asked = (_WARNINGS[path] for path, value in changes if path in _WARNINGS and _WARNINGS[path].when is value)
        warnings = [each for each in asked if each.number not in accepted]
        answer: Data = {"reqId": wanted.get("reqId"), "status": "Success", "message": "The changes are in force."}
        if errors:
            answer |= {"status": "Error", "message": "Nothing was changed.", "errors": errors}
        elif warnings:
            rows = [{"messageId": each.number, "title": each.title, "message": each.message} for each in warnings]
            answer |= {"status": "Warning", "message": "Nothing was changed: confirm the warnings.", "warnings": rows}
        else:
            answer["changedFields"] = [*self._apply(changes), *self._apply_messages(wanted)]
            if wanted.get("resetAPIOrderSequence"):
                self._orders.reset_ids()
                answer["changedFields"].append("resetAPIOrderSequence")
        session.send("updateConfigResponse", {"updateConfigResponseProto": answer})

    # -- changing ----------------------------------------------------------------------------------------------------

    def _at(self, path: str) -> Any:
        value: Any = self._config
        for name in path.split("."):
            value = value.get(name)
        return value

    def _apply(self, changes: list[tuple[str, Any]]) -> Iterator[str]:
        for path, value in changes:
            above, _, name = path.rpartition(".")
            self._at(above)[name] = value
            if path == "api.settings.masterClientId":
                self._context.master = value
            yield path

    def _message_faults(self, wanted: Mapping[str, Any]) -> Iterator[str]:
        known = {message["id"] for message in self._config["messages"]}
        for message in wanted.get("messages") or ():
            if message.get("id") not in known:
                yield f"messages: no message has the id {message.get('id')}"

    def _apply_messages(self, wanted: Mapping[str, Any]) -> Iterator[str]:
        """Apply changes to message settings, and yield their paths.

        Only the action and the enabled flag of a message can change, not its text.
        """
        rows = {message["id"]: message for message in self._config["messages"]}
        for message in wanted.get("messages") or ():
            for name in ("defaultAction", "enabled"):
                value = message.get(name)
                if value is not None and rows[message["id"]][name] != value:
                    rows[message["id"]][name] = value
                    yield f"messages.{message['id']}.{name}"


def _given(wanted: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the settings that a request names, as dotted paths with their values."""
    for name, value in wanted.items():
        if not above and name in _NOT_SET:
            continue
        if isinstance(value, dict):
            yield from _given(value, f"{above}{name}.")
        elif value is not None and value != []:
            yield f"{above}{name}", value


def _faults(changes: list[tuple[str, Any]]) -> Iterator[str]:
    for path, value in changes:
        holds, says = _LIMITS.get(path, (None, ""))
        if holds is not None and not holds(value):
            yield f"{path} {says}"
