"""Arguments of orders: those that are required, those that may be left out, and those that the daemon fills in.

Pure. This module knows the arguments of orders. It must not know which orders there are, or how one is sent. Its
functions raise `CommandRefused` with all faults of an order at once.
"""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import OUTBOUND, REQUESTS
from ibbridge.codec.messages.orders import ORDER
from ibbridge.codec.schema import Kind
from ibbridge.codec.types import FLOAT, LONGEST_NUMBER
from ibbridge.orders.order import LONGEST_REF, order_ref
from ibbridge.protocol.digest import digest
from ibbridge.protocol.errors import CommandRefused, shown
from ibbridge.risk.liveness import CancelOn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ibbridge.codec.schema import Request
    from ibbridge.orders.order import Order
    from ibbridge.tws.sender import RequestSender

_EXACT = 2.0**53

ORDERS = frozenset(request.name for request in OUTBOUND if request.does is Kind.ORDER)
"""Names of the requests that make an order."""

OF_EVERY_ORDER = ("action", "orderType")
"""Attributes that every order must give. TWS has defaults for them, which nobody means."""

WITHOUT_QUANTITY = ("cashQty", "hedgeType", "faGroup", "faMethod", "faPercentage")
"""Attributes from which TWS or IB computes the quantity of an order."""

_ATTACHED = "would make TWS place a second order; place that order too, with a key of its own and parentId"

NOT_A_CLIENTS: Mapping[str, str] = {
    "orderRef": "carries owner and key, and is the daemon's; key names the order",
    "orderId": "is the daemon's to give; key names the order",
    "clientId": "is the daemon's to give; key names the order",
    "permId": "is IB's to give; key names the order",
    "parentPermId": "is IB's to give; parentId, the parent's orderId, names the parent",
    **dict.fromkeys(("slOrderId", "slOrderType", "ptOrderId", "ptOrderType"), _ATTACHED),
}
"""Attributes of an order that no client gives, each with the reason and the attribute to use instead.

TWS would place attached orders under ids of the client's choice. The daemon has given these ids to other orders, or
will, and knows no owner of an attached order.
"""

NOT_OF_AN_ORDER = (*NOT_A_CLIENTS, "whatIf")
"""Attributes that no client gives, also because the key and the name of the command replace them."""

BESIDE = ("parent", "cancel_on_disconnect")
"""Arguments beside `order` that are for the daemon, and not for TWS."""

_NOTHING = (None, 0, "", "NONE", "None")
"""Values by which TWS reports that an order lacks an attribute, and which clients send back."""

_MAY_BE_INFINITE = ("competeAgainstBestOffset",)  # IB reads infinity as: up to the midpoint

FINITE = frozenset(each.name for each in ORDER.fields if each.type is FLOAT and each.name not in _MAY_BE_INFINITE)
"""Prices and other numbers of an order that cannot be infinite."""

_INFINITE = (math.inf, -math.inf, "Infinity", "-Infinity")


def order_digest(command: str, args: Mapping[str, Any]) -> bytes:
    """Return the digest by which the same order is known again: 100 and 100.0 are the same."""
    return digest([command, _plain(args)])


def _plain(value: Any) -> Any:
    """Return a value with integers in place of whole floats: a client may encode a number in either way."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT else value


def order_values(sender: RequestSender, order: Order) -> dict[str, Any]:
    """Return the arguments of `placeOrder`. Owner and key travel in `orderRef`."""
    values = _with_order(sender, order.args, sender.ids.upcoming, order_ref(order.owner, order.key))
    if values["order"].get("whatIf"):
        raise CommandRefused("E_ARG", "order.whatIf: whatIfOrder asks what an order would cost; placeOrder places it")
    return values


def changed(args: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of an order with other attributes. Attributes that clients only send back are left out."""
    given = {name: value for name, value in changes.items() if name not in NOT_A_CLIENTS or value not in _NOTHING}
    return {**args, "order": {**args["order"], **given}}


def changed_values(
    sender: RequestSender, order: Order, args: Mapping[str, Any], parent: Order | None, *, transmit: bool | None
) -> dict[str, Any]:
    """Return the arguments of the `placeOrder` that changes an order: all of the order, under the same id.

    `transmit` is that of the change; None is that of the order. TWS keeps a change back that it is not to transmit.
    """
    if transmit is not None:
        args = {**args, "order": {**args["order"], "transmit": transmit}}
    values = _with_order(sender, args, order.order_id, order_ref(order.owner, order.key))
    if values["order"].get("whatIf"):
        raise CommandRefused("E_ARG", "order.whatIf: whatIfOrder asks what an order would cost")
    if order.parent and parent is not None:
        values["order"]["parentId"] = parent.order_id
    return values


def exercise_values(sender: RequestSender, request: Request, order: Order) -> dict[str, Any]:
    """Return the arguments of `exerciseOptions`. Its request id becomes the order id of the resulting order."""
    args = order.args
    given = (name for name in ("reqId", "orderId") if name in args)
    faults = [f"{name} is the daemon's to give; key names the order" for name in given]
    if len(sender.accounts) > 1 and not args.get("account"):
        faults.append(f"account is missing: one of {', '.join(sender.accounts)}")
    rest = {name: value for name, value in args.items() if name != "orderId"}
    return sender.check(request, {**rest, str(request.key): sender.ids.upcoming}, faults)


def parent(args: Mapping[str, Any]) -> str:
    """Return the key of the parent order; empty if a command names none."""
    given = args.get("parent")
    if given is None:
        return ""
    order = args.get("order")
    if isinstance(order, dict) and order.get("parentId"):
        raise CommandRefused("E_ARG", "parent and order.parentId both name the parent; give one of them")
    if not isinstance(given, str) or not given:
        raise CommandRefused("E_ARG", "parent must be text: the key of the parent order")
    return given


def check_disconnect(args: Mapping[str, Any]) -> None:
    """Refuse an order that says wrongly what a lost client means for it."""
    given = args.get("cancel_on_disconnect")
    if given is not None and given not in [each.value for each in CancelOn]:
        choices = ", ".join(each.value for each in CancelOn)
        raise CommandRefused("E_ARG", f"cancel_on_disconnect must be one of {choices}, not {shown(given)}")


def _with_order(sender: RequestSender, args: Mapping[str, Any], order_id: int, ref: str) -> dict[str, Any]:
    given = args.get("order")
    faults = []
    if isinstance(given, dict):
        faults += [f"order.{name} {why}" for name, why in NOT_A_CLIENTS.items() if given.get(name) not in _NOTHING]
        given = {name: value for name, value in given.items() if name not in NOT_A_CLIENTS} | {"orderRef": ref}
        infinite = [name for name, value in given.items() if name in FINITE and value in _INFINITE]
        faults += [f"order.{name} must be a finite number" for name in infinite]
        faults += [f"order.{name} is missing" for name in OF_EVERY_ORDER if not given.get(name)]
        if "parentId" in given and given["parentId"] is None:
            faults.append("order.parentId is nil: a parent without an orderId has not left yet; name it by parent: key")
        if _is_zero(given.get("totalQuantity")) and not any(given.get(name) for name in WITHOUT_QUANTITY):
            meant = f"0 is only for orders with {', '.join(WITHOUT_QUANTITY)}"
            faults.append(f"order.totalQuantity must be more than 0; {meant}")
        if len(sender.accounts) > 1 and not any(given.get(name) for name in ("account", "faGroup")):
            faults.append(f"order.account is missing: one of {', '.join(sender.accounts)}, or a faGroup")
    if "orderId" in args:
        faults.append("orderId is the daemon's to give; key names the order")
    rest = {name: value for name, value in args.items() if name not in ("orderId", *BESIDE)}
    return sender.check(REQUESTS["placeOrder"], {**rest, "order": given, "orderId": order_id}, faults)


def what_if_values(sender: RequestSender, args: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a `placeOrder` that asks for the margin and commission, and places nothing."""
    values = _with_order(sender, args, sender.ids.upcoming, "")
    values["order"]["whatIf"] = True
    return values


def _is_zero(quantity: Any) -> bool:
    """Return True if a client has given no quantity, or 0. Text that is no number is left for later checks."""
    if isinstance(quantity, str):
        try:
            return not quantity or (len(quantity) <= LONGEST_NUMBER and Decimal(quantity) == 0)
        except InvalidOperation:
            return False
    return quantity is None or (type(quantity) in (int, float) and quantity == 0)


def with_key(args: dict[str, Any], key: str | None) -> tuple[dict[str, Any], str]:
    """Return the arguments without the order's key, and the key, which may stand in the arguments or beside them."""
    given = args.get("key", key)
    if key is not None and given != key:
        raise CommandRefused("E_ARG", "key is given twice, and differently: beside args and within")
    if given is None:
        wanted = "a name of your choice that identifies this order for ever"
        raise CommandRefused("E_ARG", f"key is missing; give {wanted} (printable ASCII, no /)")
    if (
        not isinstance(given, str)
        or not 0 < len(given) <= LONGEST_REF
        or not (given.isascii() and given.isprintable())
        or "/" in given
    ):
        raise CommandRefused("E_ARG", f"key must be 1 to {LONGEST_REF} printable ASCII characters without /")
    return {name: value for name, value in args.items() if name != "key"}, given
