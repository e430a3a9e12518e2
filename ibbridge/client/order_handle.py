"""Order handles without waiting: their state, and the arguments of the daemon's commands about orders.

The threaded and the asyncio client share this module: each has a handle class of its own, which sends and waits.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from ibbridge.client import request as requests
from ibbridge.client.errors import CommandError, NoAnswer
from ibbridge.client.request import Request

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from ibbridge.client.order_state import KnownOrder, OrderState


@dataclass(frozen=True, slots=True)
class OrderHandle(Request):
    """Request that made or changed an order, with the order's last known state."""

    known: KnownOrder = field(kw_only=True, compare=False, repr=False)

    @property
    def state(self) -> OrderState:
        """Last state of the order that this client has received. It changes while the program receives or waits."""
        return self.known.state

    def late(self, states: Collection[str], seconds: float) -> NoAnswer:
        """Return the error for a state that did not come in that time."""
        text = (
            f"the order {self.key!r} is {self.state.state}: for {seconds:g} s it was not {' or '.join(sorted(states))}"
        )
        return NoAnswer(text, "unknown", self.id, self.key)

    def is_behind(self, error: CommandError, *, again: bool) -> bool:
        """Note that the daemon refused a change. Return True if it did so because the order was changed elsewhere.

        A change that is tried `again` is not repeated with another revision: its first attempt may have succeeded.
        """
        if error.outcome == "unknown":
            return False
        self.known.attempted(error.rev or 0)
        return error.rev is not None and not again


def parts(request: Request) -> dict[str, Any]:
    """Return the fields of a request, to make a handle of it."""
    return {each.name: getattr(request, each.name) for each in fields(Request)}


def placing(
    contract: object, order: object, parent: Request | str | None, cancel_on_disconnect: str | None
) -> dict[str, Any]:
    """Return the arguments of `placeOrder`."""
    args = requests.bind("placeOrder", (contract, order), {})
    if cancel_on_disconnect is not None:
        args["cancel_on_disconnect"] = cancel_on_disconnect
    return args if parent is None else {**args, "parent": requests.key_of(parent)}


def changed(order: object, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changed attributes of an order, which are given as an order, by name, or both."""
    found: dict[str, Any] = {**(requests.plain(order) if order is not None else {}), **requests.plain(named)}
    if not found:
        raise TypeError("modify what? Give an order, or attributes: modify(lmtPrice=180.5)")
    return found


def group(orders: Iterable[Mapping[str, Any]], on_partial: str, new_key: Callable[[], str]) -> dict[str, Any]:
    """Return the arguments of `placeOrders`. A member without a key gets a new one."""
    return {"orders": [_member(each, new_key) for each in orders], "on_partial": on_partial}


def _member(given: Mapping[str, Any] | object, new_key: Callable[[], str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise TypeError(
            f"{given!r} is no order of a group: give a map with contract, order, and perhaps key and parent"
        )
    member = {name: value for name, value in given.items() if value is not None}
    if "parent" in member:
        member["parent"] = requests.key_of(member["parent"])
    return {**requests.plain(member), "key": requests.key_of(member["key"]) if "key" in member else new_key()}


class Cancels:
    """Cancel of several orders, by key or handle, or of all (None): its arguments, and what it is about to end.

    Of the orders that are `known` here, the states show the cancel until `settle` says that TWS was not asked for it.
    """

    def __init__(self, orders: Iterable[Request | str] | Request | str | None, known: Iterable[KnownOrder]) -> None:
        if isinstance(orders, (str, Request)):
            orders = [orders]
        keys = None if orders is None else [requests.key_of(each) for each in orders]
        self.args: dict[str, Any] = {"all": True} if keys is None else {"keys": keys}
        self._known = [each for each in known if keys is None or each.key in keys]
        for each in self._known:
            each.expect_cancel()

    def settle(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        """Note the rows of the reply, or that there is none: an order whose cancel was not taken is not cancelled."""
        taken = {row["key"] for row in rows if row["ok"]}
        for each in self._known:
            if each.key not in taken:
                each.give_up()


class Listing:
    """Arguments of `orders` for one page after the other: `args`, which are None after the last page."""

    def __init__(self, state: str | None, since: int | None) -> None:
        given = {"state": state, "since": since}
        self.args: dict[str, Any] | None = {name: value for name, value in given.items() if value is not None}

    def turn(self, page: Mapping[str, Any]) -> None:
        """Note a page that has come."""
        following = page.get("next")
        self.args = None if following is None else {**(self.args or {}), "after": following}
