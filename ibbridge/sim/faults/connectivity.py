"""Connectivity faults: the loss of the upstream and of data farms, and what the host tells its clients about it.

A fault of this kind silences subscriptions and leaves requests unanswered until it is over. The module is as pure as
the host, and knows no clock.
"""

from __future__ import annotations

import random
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from ibbridge.sim.faults.client_state import key_of
from ibbridge.sim.faults.script import ORDER_EVENTS, FaultStep

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ibbridge.sim.context import Sent
    from ibbridge.sim.engine import SimulatedTws
    from ibbridge.sim.faults.client_state import ClientState
    from ibbridge.sim.faults.schedule import ActiveFault, FaultSchedule

LOST = "Connectivity between IBKR and Trader Workstation has been lost."
BROKEN = "Connectivity between Trader Workstation and server is broken. It will be restored automatically."
BACK = "Connectivity between IBKR and Trader Workstation has been restored - "
_NOTICES = {
    2103: "Market data farm connection is broken:", 2104: "Market data farm connection is OK:",
    2105: "HMDS data farm connection is broken:", 2106: "HMDS data farm connection is OK:",
    2107: "HMDS data farm connection is inactive but should be available upon demand.",
    2108: "Market data farm connection is inactive but should be available upon demand.",
    2119: "Market data farm is connecting:", 2157: "Sec-def data farm connection is broken:",
    2158: "Sec-def data farm connection is OK:",
}  # fmt: skip
BREAKS = {2103: 2104, 2105: 2106, 2157: 2158}
"""Codes of the notices that a data farm is down, each with the code of the notice that ends it."""
_ENDS = {ends: breaks for breaks, ends in BREAKS.items()}
DATA = frozenset(("reqMktData", "reqMktDepth", "reqTickByTickData", "reqRealTimeBars"))
"""Subscriptions to live market data."""
_HISTORICAL = frozenset(("reqHistoricalData", "reqHeadTimeStamp", "reqHistoricalTicks", "reqHistogramData"))
_LOST_WITH_DATA = DATA | {"reqHistoricalData", "reqNewsBulletins", "reqScannerSubscription"}
COMPETING = "No market data during competing live session"
_FARMS = {"CASH": "cashfarm", "CRYPTO": "cashfarm", "FUT": "usfuture", "FOP": "usfuture", "CONTFUT": "usfuture"}
_UPSTREAM = ("1100", "2110")
_ANSWERS = frozenset(("error", "currentTime", "currentTimeInMillis", "nextValidId", "managedAccounts"))
"""Messages of the host itself, which it sends without IB's servers."""
_ENDS_OF_ORDERS = (201, 202)
"""Errors by which IB's servers end an order."""


class Connectivity:
    """Faults of the upstream and of data farms. `clients` are the connected clients by client id."""

    def __init__(self, core: SimulatedTws, schedule: FaultSchedule, clients: Mapping[int, ClientState]) -> None:
        self._core = core
        self._schedule = schedule
        self._clients = clients
        self._chance = random.Random(core.context.seed)
        self._effects: Mapping[str, Callable[[FaultStep], None]] = {
            "1100": self._lose_upstream,
            "2110": self._lose_upstream,
            "1101": self._return_without_data,
            "1102": self._return_with_data,
            "farm": self._notify_of_farm,
            "10182": self._end_live_bars,
            "competing": self._begin_competing,
            "1300": self._reset_port,
        }

    def begin(self, step: FaultStep) -> None:
        """Apply the immediate effect of a fault, if the fault is of this kind."""
        if step.do in self._effects:
            self._effects[step.do](step)

    def end(self, step: FaultStep) -> None:
        """Report that a fault is over."""
        if step.do in _UPSTREAM:
            self._return_with_data(FaultStep("1102", step.client, {"dead": 0, "text": ""}))
        elif step.do == "farm":
            self._notify_of_farm(FaultStep("farm", step.client, {**step.args, "code": BREAKS[step.args["code"]]}))

    def repeat(self, now: float) -> None:
        """Say again that the upstream is lost, as often as its step orders."""
        for each in self._schedule.faults:
            if each.step.do in _UPSTREAM:
                args = each.step.args
                while each.said < args["repeat"] and now >= each.began + each.said * args["every"]:
                    each.said += 1
                    self._lose_upstream(each.step)

    # -- questions ---------------------------------------------------------------------------------------------------

    def upstream_lost(self, number: int) -> bool:
        """Return True if the host has lost IB's servers, as far as this client is told."""
        return self._outage(number) is not None

    def _outage(self, number: int) -> ActiveFault | None:
        return next((found for do in _UPSTREAM if (found := self._schedule.active(do, number)) is not None), None)

    def farm_broken(self, number: int, code: int, farm: str = "") -> bool:
        """Return True if this notice, about this farm or any, is in force for a client."""
        return any(
            fault.step.do == "farm" and fault.step.args["code"] == code and fault.concerns(number)
            and farm in ("", fault.step.args["farm"])
            for fault in self._schedule.faults
        )  # fmt: skip

    def data_missing(self, number: int, name: str, args: Mapping[str, Any]) -> bool:
        """Return True if a request needs a data farm that is down."""
        if name in DATA:
            return self.farm_broken(number, 2103, _market_farm(args))
        return name in _HISTORICAL and self.farm_broken(number, 2105)

    def competing(self, number: int, name: str) -> bool:
        """Return True if a competing session takes the market data that a request is for."""
        return name in DATA and self._schedule.active("competing", number) is not None

    def silences(self, client: ClientState, message: Sent) -> bool:
        """Return True if a message belongs to a subscription that a fault has silenced."""
        name, data = message
        key = key_of(data)
        if name == "error" or key is None or key not in client.open:
            return False
        asked, args = client.open[key]
        number = client.session.client_id
        return key in client.dead or self.data_missing(number, asked, args) or self.competing(number, asked)

    def corrected(self, number: int, message: Sent) -> Sent:
        """Replace the notice that a farm is up while a fault keeps that farm down.

        A client that connects during the fault would otherwise be told that the farm is up.
        """
        name, data = message
        if name != "error" or data["errorCode"] not in _ENDS:
            return message
        code, farm = _ENDS[data["errorCode"]], data["errorString"].rpartition(":")[2]
        if not self.farm_broken(number, code, farm):
            return message
        return name, data | {"errorCode": code, "errorString": _NOTICES[code] + farm}

    def held_back(self, client: ClientState, messages: list[Sent]) -> list[Sent]:
        """Return the messages that a client receives now, while the upstream is lost or after it.

        TWS does not hear of the events of orders while the upstream is lost. What becomes of them depends on the fault.
        """
        outage = self._outage(client.session.client_id)
        if outage is None:
            kept, client.kept = client.kept, []
            notices = sum(1 for _ in takewhile(_is_notice, messages)) if kept else 0
            return messages[:notices] + kept + messages[notices:]
        for message in filter(is_order_event, messages):
            self._miss(client.kept, message, outage.step.args["events"])
        return [message for message in messages if message[0] in _ANSWERS and not is_order_event(message)]

    def _miss(self, kept: list[Sent], message: Sent, how: str) -> None:
        """Keep an order event that happens while the upstream is lost, or lose it."""
        if how == "lost" or (how == "some" and self._chance.random() < 0.5):
            return
        place = self._chance.randrange(len(kept) + 1) if how == "reorder" else len(kept)
        kept[place:place] = [message] * (2 if how == "duplicate" else 1)

    # -- effects -----------------------------------------------------------------------------------------------------

    def _each(self, step: FaultStep) -> list[ClientState]:
        return [client for number, client in self._clients.items() if step.client in (None, number)]

    def _lose_upstream(self, step: FaultStep) -> None:
        code, text = (1100, LOST) if step.do == "1100" else (2110, BROKEN)
        for client in self._each(step):
            client.session.error(-1, code, text)

    def _restore_upstream(self, step: FaultStep) -> None:
        def restored(fault: ActiveFault) -> bool:
            return fault.step.do in _UPSTREAM and step.client in (None, fault.step.client)

        self._schedule.remove_where(restored)

    def _return_without_data(self, step: FaultStep) -> None:
        self._restore_upstream(step)
        for client in self._each(step):
            self._core.lose_data(client.session)
            client.open = {key: asked for key, asked in client.open.items() if asked[0] not in _LOST_WITH_DATA}
            client.dead.clear()
            client.session.error(-1, 1101, f"{BACK}data lost.")

    def _return_with_data(self, step: FaultStep) -> None:
        self._restore_upstream(step)
        for client in self._each(step):
            streams = [key for key, (name, _) in client.open.items() if name in _LOST_WITH_DATA]
            client.dead.update(streams[: step.args["dead"]])
            client.session.error(-1, 1102, step.args["text"] or f"{BACK}data maintained.")

    def _notify_of_farm(self, step: FaultStep) -> None:
        code, farm = step.args["code"], step.args["farm"]

        def over(fault: ActiveFault) -> bool:
            said = fault.step
            broken = said.do == "farm" and said.args["code"] == _ENDS[code] and said.args["farm"] == farm
            return broken and step.client in (None, said.client)

        for each in self._each(step):
            if code in _ENDS and step.args["dead"]:
                each.dead.update(key for key, asked in each.open.items() if _is_from(farm, code, *asked))
            each.session.error(-1, code, _NOTICES[code] + farm)
        if code in _ENDS:
            self._schedule.remove_where(over)

    def _end_live_bars(self, step: FaultStep) -> None:
        for client in self._each(step):
            self._core.end_updates(client.session)
            client.open = {
                key: asked for key, asked in client.open.items()
                if asked[0] != "reqHistoricalData" or not asked[1].get("keepUpToDate")
            }  # fmt: skip

    def _begin_competing(self, step: FaultStep) -> None:
        for client in self._each(step):
            for key, (name, _) in client.open.items():
                if name in DATA:
                    client.session.error(key, 10197, COMPETING)

    def _reset_port(self, step: FaultStep) -> None:
        for client in self._each(step):
            text = "Socket port has been reset and this connection is being dropped. Please reconnect on the new port"
            client.session.error(-1, 1300, f"{text} - {step.args['port']}.")
            client.session.closed = True


def is_order_event(message: Sent) -> bool:
    """Return True if a message tells of something that has happened to an order at IB."""
    name, data = message
    return name in ORDER_EVENTS or (name == "error" and data["errorCode"] in _ENDS_OF_ORDERS)


def _is_notice(message: Sent) -> bool:
    name, data = message
    return name == "error" and data["reqId"] == -1


def _is_from(farm: str, code: int, name: str, args: Mapping[str, Any]) -> bool:
    """Return True if a subscription gets its data from a farm whose return the notice `code` reports."""
    return (name in DATA and farm == _market_farm(args)) if code == 2104 else name in _HISTORICAL


def _market_farm(args: Mapping[str, Any]) -> str:
    return _FARMS.get((args.get("contract") or {}).get("secType", ""), "usfarm")
