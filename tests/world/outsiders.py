"""Others at TWS: programs under another client id and under the daemon's own, and people who trade by hand.

The daemon hears of their orders like of its own, or not at all. None of these orders is a client's of the daemon.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim.orders.order import HELD, INACTIVE
from ibbridge.sim.rejections import RequestRejected
from tests.world.process import CLIENT_ID

if TYPE_CHECKING:
    import random

    from tests.world.world import World

OTHER = 7
"""Client id of another program."""

PATIENCE = 6.0
"""Seconds for which a program tries to connect under the daemon's client id."""

STEP = 0.1


APART = 100_000
"""Distance of the order ids of a program under the daemon's client id from those that TWS would give it. Without it an
order of the daemon's that did not arrive may have the same id, and be taken for the other one until TWS lists that."""


def order(chance: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return contract and order of somebody else: it rests, or is filled at once."""
    contract = {"symbol": chance.choice(("AAPL", "MSFT")), "secType": "STK", "exchange": "SMART", "currency": "USD"}
    buys = chance.random() < 0.5
    found: dict[str, Any] = {"action": "BUY" if buys else "SELL", "totalQuantity": chance.randrange(1, 50)}
    if chance.random() < 0.5:
        return contract, {**found, "orderType": "MKT"}
    return contract, {**found, "orderType": "LMT", "lmtPrice": 1.0 if buys else 5000.0}


def trade(world: World, chance: random.Random) -> None:
    """Have a program under another client id place an order, and sometimes cancel the orders of all."""
    if world.tws.is_away():
        return
    core = world.tws.core
    session = core.connect(OTHER)
    contract, wanted = order(chance)
    if chance.random() < 0.1:
        world.history.fault(world.timeline.now, f"client id {OTHER} cancels all orders at TWS")
        core.request(session, "reqGlobalCancel", {"orderCancel": {}})
    else:
        _place(world, session, contract, wanted)
    core.disconnect(session)
    world.tws.flush()


def _place(world: World, session: Any, contract: dict[str, Any], wanted: dict[str, Any]) -> None:
    number = world.tws.core.orders.entry.next_id(session.client_id)
    number += APART if session.client_id == CLIENT_ID else 0
    world.history.fault(world.timeline.now, f"client id {session.client_id} places the order {number}: {wanted}")
    world.tws.core.request(session, "placeOrder", {"orderId": number, "contract": contract, "order": wanted})


def take_the_id(world: World, chance: random.Random) -> None:
    """Have a program connect under the daemon's client id as soon as that is free, trade there, and leave."""
    world.history.fault(world.timeline.now, "another program wants the daemon's client id")
    if chance.random() < 0.7:
        world.break_off(chance.uniform(0.0, 3.0), 0.0)
    _try(world, chance, world.timeline.now + PATIENCE, chance.uniform(0.0, 8.0))


def _try(world: World, chance: random.Random, until: float, stays: float) -> None:
    core = world.tws.core
    if world.tws.ids_went_back:
        return
    session = None if world.tws.is_away() else core.connect(CLIENT_ID)
    if session is None or session.closed:
        if world.timeline.now < until:
            world.timeline.after(STEP, _try, world, chance, until, stays)
        return
    world.tws.id_is_shared = True
    world.history.mark("another program traded under the daemon's client id")
    for _ in range(chance.randrange(1, 4)):
        _place(world, session, *order(chance))
    own = [each for each in core.orders.book.working() if each.client == CLIENT_ID]
    if own and chance.random() < 0.5:
        number = chance.choice(own).order_id
        world.history.fault(world.timeline.now, f"the other program cancels the order {number}")
        core.request(session, "cancelOrder", {"orderId": number, "orderCancel": {}})
    world.timeline.after(stays, core.disconnect, session)


def trade_by_hand(world: World, chance: random.Random) -> None:
    """Have somebody type an order into TWS."""
    if world.tws.is_away():
        return
    contract, wanted = order(chance)
    held = {symbol: quantity for symbol, quantity in world.tws.positions().items() if quantity}
    if held and chance.random() < 0.5:  # they close a position
        symbol = chance.choice(sorted(held))
        contract["symbol"] = symbol
        wanted = {"action": "SELL" if held[symbol] > 0 else "BUY", "totalQuantity": abs(held[symbol])}
        wanted["orderType"] = "MKT"
        if chance.random() < 0.5:  # while the daemon hears nothing of it
            world.break_off(0.0, 0.0)
    world.history.fault(world.timeline.now, f"somebody places an order in TWS: {contract['symbol']} {wanted}")
    try:
        world.tws.core.enter_order(contract, wanted)
    except RequestRejected as refused:
        world.history.note(world.timeline.now, f"TWS refuses it: {refused}")
    world.tws.flush()


def cancel_by_hand(world: World, chance: random.Random) -> None:
    """Have somebody cancel an order in TWS."""
    book = world.tws.core.orders.book
    working = [*book.working()]
    if world.tws.is_away() or not working:
        return
    found = chance.choice(working)
    world.history.fault(world.timeline.now, f"somebody cancels {found.order.get('orderRef', 'an order')} in TWS")
    book.end(found, "Order Canceled - reason:")
    world.tws.flush()


def transmit_by_hand(world: World, chance: random.Random) -> None:
    """Have somebody transmit an order that TWS keeps back. It works, or is rejected."""
    book = world.tws.core.orders.book
    kept = [each for each in book.tickets if each.status == HELD and each.parent is None]
    if world.tws.is_away() or not kept:
        return
    found = chance.choice(kept)
    rejected = chance.random() < 0.2
    what = "it is rejected" if rejected else "it works"
    world.history.fault(world.timeline.now, f"somebody transmits {found.order.get('orderRef')} in TWS, and {what}")
    if rejected:
        book.tickets.remove(found)
        found.status = INACTIVE
        book.reject(found, "The account may not trade this.")
    else:
        for each in (found, *book.children(found)):
            if each.status == HELD:
                book.start(each)
    world.tws.flush()
