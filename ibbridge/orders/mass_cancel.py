"""Mass cancels: the cancel of all open orders of a scope, pursued until each order is over or the time has passed.

Pure. An order counts as cancelled only once it is over, by the evidence that moves every order. This module must not
know when a cancel is sent, or why orders are cancelled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from ibbridge.ib import error_codes
from ibbridge.orders.order import FOREIGN
from ibbridge.orders.state_machine import OrderState, Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ibbridge.orders.foreign_orders import ForeignOrder
    from ibbridge.orders.order import Order
    from ibbridge.orders.order_canceller import Attempt

LISTED = 1_000
"""Most orders in each list of an answer."""


class Lists(NamedTuple):
    """Orders of a mass cancel: those that are over, those that are not cancelled and will not be, and the others."""

    cancelled: list[dict[str, Any]]
    refused: list[dict[str, Any]]
    unknown: list[dict[str, Any]]


@dataclass(slots=True, eq=False)
class MassCancel:
    """Mass cancel: whose orders, why and for whom, until when (of a monotonic clock), and what came of each order."""

    identifier: str
    cause: str
    scope: str
    name: str
    client: str
    reason: str
    begun: int
    until: float
    orders: dict[Order, Attempt] = field(default_factory=dict)
    foreign: dict[int, Attempt] = field(default_factory=dict)
    adopts: bool = False
    """True if orders of the scope that are found later are cancelled too: nothing new can be among them."""
    is_over: bool = False
    lost: int | None = None
    """The time in µs since 1970 UTC at which the client was lost whose orders these are; None if it was not."""
    told: tuple[int, int, int, bool] | None = None
    """The lengths of the lists that were published last."""


def lists(one: MassCancel, foreign: Mapping[int, ForeignOrder]) -> Lists:
    """Return the orders of a mass cancel as of now. `foreign`: orders of nobody here by permId."""
    found = Lists([], [], [])
    for order, attempt in one.orders.items():
        about = _shown(order)
        if order.ended and order.reason is Reason.FILLED:
            found.refused.append({**about, "fault": "the order is filled, so there was nothing to cancel"})
        elif order.ended:
            found.cancelled.append(about)
        elif attempt.is_refused:
            found.refused.append({**about, "fault": attempt.fault})
        elif one.is_over and (why := _refusal(order, one.begun)):
            found.refused.append({**about, "fault": why})
        else:
            found.unknown.append({**about, "fault": attempt.fault})
    for perm_id, attempt in one.foreign.items():
        stranger = foreign.get(perm_id)
        about = _shown_foreign(perm_id, stranger)
        if stranger is not None and stranger.status == "Filled":
            found.refused.append({**about, "fault": "the order is filled, so there was nothing to cancel"})
        elif stranger is not None and (stranger.ended or stranger.is_missing):
            found.cancelled.append(about)
        elif attempt.is_refused:
            found.refused.append({**about, "fault": attempt.fault})
        else:
            found.unknown.append({**about, "fault": attempt.fault})
    return found


def _refusal(order: Order, since: int) -> str:
    """Return the words with which TWS refused to cancel an order that works; empty if it did not."""
    error = order.error
    if order.state not in (OrderState.WORKING, OrderState.ACKED) or order.cancelling or error is None:
        return ""
    refuses = error_codes.about(error["code"], error["text"]).refuses == "cancellation"
    return f"TWS: {error['code']} {error['text']}" if refuses and error["ts"] >= since and not error["own"] else ""


def _shown(order: Order) -> dict[str, Any]:
    return {
        "owner": order.owner,
        "key": order.key,
        "orderId": order.order_id or None,
        "permId": order.perm_id or None,
        "state": order.state.value,
        "reason": order.reason.value if order.reason else None,
        "filled": order.filled,
    }


def _shown_foreign(perm_id: int, order: ForeignOrder | None) -> dict[str, Any]:
    status = order.status if order is not None else ""
    number = order.order_id if order is not None else None
    return {
        "owner": FOREIGN,
        "key": f"~{perm_id}",
        "orderId": number or None,
        "permId": perm_id,
        "state": "done" if order is not None and (order.ended or order.is_missing) else "working",
        "reason": status or None,
        "filled": None,
    }


def shown(one: MassCancel, foreign: Mapping[int, ForeignOrder], now: float) -> dict[str, Any]:
    """Return what an answer says of a mass cancel: whose, why, the three lists, and their lengths."""
    found = lists(one, foreign)
    return {
        **about(one),
        "left": None if one.is_over else round(max(0.0, one.until - now), 3),
        "counts": {name: len(each) for name, each in found._asdict().items()},
        **{name: each[:LISTED] for name, each in found._asdict().items()},
    }


def about(one: MassCancel) -> dict[str, Any]:
    """Return what a mass cancel is for."""
    return {
        "id": one.identifier,
        "cause": one.cause,
        "scope": one.scope,
        "name": one.name,
        "client": one.client,
        "reason": one.reason,
        "since": one.begun,
        "over": one.is_over,
        **({"lost": one.lost} if one.lost is not None else {}),
    }


def packed(cancels: Iterable[MassCancel], now: float, now_us: int) -> bytes:
    """Return the stored form of mass cancels. Times are in µs since 1970 UTC."""
    stored = [
        {
            **about(one),
            "until": now_us + round((one.until - now) * 1e6),
            "adopts": one.adopts,
            "orders": [(order.owner, order.key) for order in one.orders],
            "foreign": [*one.foreign],
        }
        for one in cancels
    ]
    data: bytes = msgpack.packb(stored)
    return data
