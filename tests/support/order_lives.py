"""Lives of orders: what clients command, what TWS sends, and what must be published and sent at each step.

TWS's messages are bytes, as a gateway writes them at one server version, and go the way of every read. Time is virtual.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ibbridge.codec import Dialect, Message
from ibbridge.sim.encoding import Encoder
from tests.support.daemon_core import AAPL, CLIENT_ID, LIMIT, Heard, Middle

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

VERSIONS = (178, 226)
"""Server versions with text, and with protobuf."""

LOOK_UPS = ("reqAllOpenOrders", "reqExecutions", "reqCompletedOrders")
"""The daemon's own questions about orders, in their order."""

MARKET = {"action": "BUY", "totalQuantity": 100, "orderType": "MKT"}
STOP = {"action": "SELL", "totalQuantity": 100, "orderType": "STP", "auxPrice": 140.0}
TARGET = {**LIMIT, "action": "SELL", "lmtPrice": 160.0}
SPREAD = {
    "symbol": "SPY", "secType": "BAG", "exchange": "SMART", "currency": "USD",
    "comboLegs": [{"conId": 1, "ratio": 1, "action": "BUY"}, {"conId": 2, "ratio": 1, "action": "SELL"}],
}  # fmt: skip
LEG = {"symbol": "SPY", "secType": "OPT", "exchange": "SMART", "currency": "USD", "right": "C", "strike": 500.0}

_NAMED = ("openOrder", "orderStatus", "completedOrder", "error")


@dataclass(frozen=True)
class Said:
    """A message of TWS about the order under `key`. `owned`: it is published for the owner of that order."""

    name: str
    data: Mapping[str, Any]
    key: str = "k"
    owned: bool = True

    def unheard(self) -> Said:
        """Return the message as one that is not published, because its owner has been told the same."""
        return Said(self.name, self.data, self.key, owned=False)


@dataclass(frozen=True)
class Command:
    """A command of the client `a`; `sends` names the requests to TWS that follow at once."""

    cmd: str
    args: Mapping[str, Any]
    sends: tuple[str, ...]


@dataclass(frozen=True)
class Passing:
    """Seconds that pass; `sends` names the requests to TWS that the daemon makes meanwhile."""

    seconds: float
    sends: tuple[str, ...] = ()


def opened(status: str, key: str = "k", contract: Mapping[str, Any] = AAPL, **order: Any) -> Said:
    data = {"contract": contract, "order": {**LIMIT, **order}, "orderState": {"status": status}}
    return Said("openOrder", data, key)


def status(
    name: str, filled: float = 0.0, remaining: float = 100.0, average: float = 0.0, *, key: str = "k", held: str = ""
) -> Said:
    data = {"status": name, "filled": filled, "remaining": remaining, "avgFillPrice": average, "whyHeld": held}
    return Said("orderStatus", data, key)


def executed(
    exec_id: str,
    shares: float,
    counted: float,
    price: float = 150.0,
    key: str = "k",
    *,
    average: float | None = None,
    contract: Mapping[str, Any] = AAPL,
    req_id: int = -1,
    **about: Any,
) -> Said:
    execution = {
        "execId": exec_id, "side": "BOT", "shares": shares, "cumQty": counted, "price": price,
        "avgPrice": price if average is None else average, **about,
    }  # fmt: skip
    return Said("execDetails", {"reqId": req_id, "contract": contract, "execution": execution}, key)


def charged(exec_id: str, key: str = "k", amount: float = 1.0) -> Said:
    report = {"execId": exec_id, "commissionAndFees": amount, "currency": "USD", "realizedPNL": 1.7976931348623157e308}
    return Said("commissionAndFeesReport", {"commissionAndFeesReport": report}, key)


def failed(code: int, text: str = "", key: str = "k", reason: str = "") -> Said:
    return Said("error", {"errorCode": code, "errorString": text, "advancedOrderRejectJson": reason}, key)


def completed(name: str, why: str = "", filled: float = 0.0, key: str = "k", **order: Any) -> Said:
    about = {**LIMIT, "filledQuantity": filled, **order}
    data = {"contract": AAPL, "order": about, "orderState": {"status": name, "completedStatus": why}}
    return Said("completedOrder", data, key)


def placed(
    order: Mapping[str, Any] = LIMIT, key: str = "k", contract: Mapping[str, Any] = AAPL, **args: Any
) -> Command:
    return Command("placeOrder", {"key": key, "contract": contract, "order": order, **args}, ("placeOrder",))


def grouped(orders: Sequence[Mapping[str, Any]], **args: Any) -> Command:
    return Command("placeOrders", {"orders": orders, **args}, ("placeOrder",) * len(orders))


def cancelled(key: str = "k") -> Command:
    return Command("cancelOrder", {"key": key}, ("cancelOrder",))


def changed(rev: int, key: str = "k", **order: Any) -> Command:
    return Command("modifyOrder", {"key": key, "rev": rev, "order": order}, ("placeOrder",))


@dataclass
class Stage:
    """A daemon and the TWS that a test plays, at one server version. The daemon looks orders up as it does in earnest.

    `perm_ids` are those that TWS gives, by key; a status before an `openOrder` has them too.
    """

    version: int = 226
    middle: Middle = field(init=False)
    executions: dict[str, str] = field(default_factory=dict)  # keys by execId

    def __post_init__(self) -> None:
        self.middle = Middle(self.version, reconciles=True)
        self.host = Encoder(Dialect.server(self.version))
        self.lists()
        self.middle.pass_time(1.0)

    # -- TWS

    def perm_id(self, key: str) -> int:
        order = self.middle.orders.keyed("a", key)
        assert order is not None
        return 900_000 + order.order_id

    def order_id(self, key: str) -> int:
        order = self.middle.orders.keyed("a", key)
        assert order is not None
        return order.order_id

    def complete(self, said: Said) -> dict[str, Any]:
        """Return the data of a message, with the ids of its order."""
        data = dict(said.data)
        if said.name == "commissionAndFeesReport":
            return data
        ids = {"orderId": self.order_id(said.key), "clientId": CLIENT_ID, "permId": self.perm_id(said.key)}
        ref = {"orderRef": f"a/{said.key}"}
        match said.name:
            case "openOrder":
                return {**data, "orderId": ids["orderId"], "order": {**ids, **ref, **data["order"]}}
            case "orderStatus":
                return {**ids, **data}
            case "execDetails":
                return {**data, "execution": {**ids, **ref, **data["execution"]}}
            case "completedOrder":
                return {**data, "order": {"permId": ids["permId"], **ref, **data["order"]}}
            case _:
                return {"reqId": ids["orderId"], **data}

    def hear(self, said: Said) -> list[Heard]:
        """Have TWS send a message. Return what is published."""
        return self.read(said.name, self.complete(said))

    def read(self, name: str, data: Mapping[str, Any]) -> list[Heard]:
        """Have the bytes of a message arrive. Return what is published."""
        before = len(self.middle.published)
        dialect = self.middle.link.dialect
        assert dialect is not None
        about = {"contract": AAPL} if name in ("openOrder", "execDetails", "completedOrder") else {}
        message = dialect.read(self.host.put(name, {**about, **data})[4:])
        assert isinstance(message, Message), message
        self.middle.clock.us += 1
        self.middle.parts.dispatcher.deliver([message], self.middle.clock.us)
        return self.middle.published[before:]

    def lists(
        self, opened: Iterable[Said] = (), executed: Iterable[Said] = (), completed: Iterable[Said] = ()
    ) -> list[str]:
        """Answer the daemon's questions about orders with these rows, and list no positions. Return the questions about
        orders.
        """
        rows = dict(zip(LOOK_UPS, (opened, executed, completed), strict=True))
        ends = dict(zip(LOOK_UPS, ("openOrderEnd", "execDetailsEnd", "completedOrdersEnd"), strict=True))
        asked = []
        while sent := self.middle.link.take():
            for each in sent:
                if each.name == "reqPositions":
                    self.read("positionEnd", {})
                    continue
                assert each.name in rows, each
                asked.append(each.name)
                number = {"reqId": each.data["reqId"]} if each.name == "reqExecutions" else {}
                for said in rows[each.name]:
                    self.read(said.name, {**self.complete(said), **number})
                self.read(ends[each.name], number)
        return asked

    def look_up(self, **rows: Iterable[Said]) -> None:
        """Let a second pass, in which the daemon asks for its orders, and answer."""
        self.middle.pass_time(1.0)
        assert self.lists(**rows) == list(LOOK_UPS)

    # -- what is published

    def command(self, command: Command) -> list[Heard]:
        """Execute a command. Return what is published."""
        before = len(self.middle.published)
        self.middle.clock.us += 1
        asked = {"id": self.middle.clock.us, "client": "a", "cmd": command.cmd, "args": dict(command.args)}
        reply = self.middle.call(asked)
        assert reply["ok"], reply
        return self.middle.published[before:]

    def do(self, step: Said | Command | Passing) -> list[Heard]:
        """Do a step of a life, and see that nothing is sent to TWS but what the step names."""
        if isinstance(step, Said):
            heard = self.hear(step)
        elif isinstance(step, Command):
            heard = self.command(step)
        else:
            before = len(self.middle.published)
            self.middle.pass_time(step.seconds)
            heard = self.middle.published[before:]
        sends = () if isinstance(step, Said) else step.sends
        assert tuple(each.name for each in self.middle.link.take()) == sends, step
        return heard

    def shown(self, key: str = "k") -> str:
        """Return the last state of an order, as the tables write it."""
        return written([each for each in self.middle.published if each.topic == f"ord.a.{key}.orderState."][-1])


def written(heard: Heard) -> str:
    """Return an `orderState` in a line: state, reason, cause, filled/remaining@average, error, revision."""
    data = heard.data
    words = [data["state"], data["reason"], data["cause"] and f"by {data['cause']}"]
    if data["filled"] is not None or data["remaining"] is not None:
        numbers = (f"{each:g}" if each is not None else "-" for each in (data["filled"], data["remaining"]))
        words.append("/".join(numbers) + (f"@{data['avgFillPrice']:g}" if data["avgFillPrice"] else ""))
    words.append(data["lastError"] and f"!{data['lastError']['code']}")
    words.append(data["rev"] and f"r{data['rev']}")
    return " ".join(word for word in words if word)


def states(heard: Iterable[Heard], *, keyed: bool = False) -> list[str]:
    """Return the states among what was published; `keyed`: each behind the key of its order."""
    found = [each for each in heard if each.body["type"] == "orderState"]
    return [f"{each.body['ref']['key']}: {written(each)}" if keyed else written(each) for each in found]


def fills(heard: Iterable[Heard]) -> list[Heard]:
    """Return the executions and commissions among what was published."""
    return [each for each in heard if each.topic.startswith("exec.") and each.body["type"] != "ownerPosition"]


def topics(step: Said | Command | Passing) -> list[str]:
    """Return the topics on which a step is published for the owner, apart from states."""
    if not isinstance(step, Said) or not step.owned:
        return []
    return [f"ord.a.{step.key}.{step.name}." if step.name in _NAMED else f"exec.a.{step.name}."]
