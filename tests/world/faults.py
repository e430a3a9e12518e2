"""Faults of a seed: which kinds there are in it, when they come, and how long they last.

Each seed has some kinds and not others, so that rare kinds meet each other, and so that rules which hold only without a
kind are checked in many seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ibbridge.sim.orders.order import HELD
from tests.world import outsiders
from tests.world.process import BORDERS, CLIENT_ID, Doom

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.world.world import World

MISSED = ("late", "lost", "some", "duplicate", "reorder")
"""Fates of the order events that happen while TWS is without IB's servers (docs/simulator.md)."""

DAY = 86400

OUTAGE = 1 / 6
"""One over the mean length of a fault, in seconds."""


def _tws(**given: Any) -> Callable[[World, random.Random], None]:
    """Return a fault of the simulated TWS. `for_`: it lasts some time."""
    lasts = given.pop("for_", False)

    def strike(world: World, chance: random.Random) -> None:
        step = {name: value(chance) if callable(value) else value for name, value in given.items()}
        if lasts:
            step["for"] = round(chance.expovariate(OUTAGE), 2) + 0.1
        world.history.fault(world.timeline.now, f"TWS: {step}")
        world.tws.fault(**step)

    return strike


def _kill(world: World, chance: random.Random) -> None:
    world.doom(_doom(chance, None))


def _power(world: World, chance: random.Random) -> None:
    world.doom(_doom(chance, chance.choice((0.0, 1.0, chance.random(), chance.random()))))


def _doom(chance: random.Random, power: float | None) -> Doom:
    """Return an end of the process soon: at one of the next places of one kind."""
    place = chance.choice([*BORDERS])
    count = chance.randrange(1, 30 if place == "callback" else 4)
    return Doom(place, chance.choice(BORDERS[place]), count, _away(chance), power)


def _away(chance: random.Random) -> float:
    return round(chance.choice((0.0, chance.expovariate(1 / 3), chance.expovariate(1 / 20))), 3)


def _stop(world: World, chance: random.Random) -> None:
    world.stop(_away(chance))


def _client_dies(world: World, chance: random.Random) -> None:
    client = chance.choice(world.clients)
    away = round(chance.expovariate(1 / 4), 2)
    world.history.fault(world.timeline.now, f"client {client.name} dies for {away:.2f} s")
    client.die(away)


def _clock(world: World, chance: random.Random) -> None:
    seconds = chance.choice((1, 60, 3600, DAY, 3 * DAY)) * chance.uniform(-1.0, 1.0)
    world.history.fault(world.timeline.now, f"the clock of the machine is set by {seconds:+.3f} s")
    world.set_clock(round(seconds * 1e6))


def _reset(world: World, chance: random.Random) -> None:
    daemon_hears, tws_hears = chance.uniform(0.0, 3.0), chance.uniform(0.0, 3.0)
    world.history.fault(world.timeline.now, "the network loses the connection to TWS, with all that is on its way")
    world.break_off(daemon_hears, tws_hears)


def _vanish(world: World, chance: random.Random) -> None:
    world.history.fault(world.timeline.now, "the network loses the connection to TWS, and the daemon is not told")
    world.break_off(None, chance.uniform(0.0, 20.0))


def _halt(world: World, chance: random.Random) -> None:
    world.history.fault(world.timeline.now, "the operator halts trading")
    world.operate("halt")
    world.timeline.after(chance.uniform(0.5, 8.0), world.operate, "resume")


def _halt_and_cancel(world: World, chance: random.Random) -> None:
    """Halt trading of all, or of a client, and cancel the open orders."""
    client = chance.choice([None, *world.clients])
    scope = {} if client is None else {"scope": "client", "name": client.name}
    deadline = chance.choice((5.0, 20.0, 60.0))
    world.history.fault(world.timeline.now, f"the operator halts trading {scope}, and cancels within {deadline:g} s")
    world.operate("halt", cancel=True, deadline=deadline, **scope)
    state = chance.random()
    if state < 0.2:
        world.timeline.after(0.5, lambda: world.operate("halt", state="reducing", **scope))
    world.timeline.after(chance.uniform(1.0, 8.0), lambda: world.operate("resume", **scope))


def _cancel_all(world: World, _: random.Random) -> None:
    world.history.fault(world.timeline.now, "the operator cancels all orders")
    world.operate("reqGlobalCancel")


def _missed(chance: random.Random) -> str:
    """Return what becomes of the order events of an outage of IB's servers."""
    return chance.choice(MISSED)


def _outage(world: World, chance: random.Random) -> None:
    """TWS loses IB's servers; what happens to orders meanwhile may never come; that they are back is all it says.

    Mostly the outage begins while a large order is being filled.
    """
    seconds, back = round(chance.expovariate(OUTAGE), 2) + 0.1, world.says_back or chance.choice(("1101", "1102"))
    events = _missed(chance)
    world.history.fault(
        world.timeline.now, f"TWS is without IB's servers for {seconds:.2f} s, then says {back}; order events: {events}"
    )
    world.history.mark(f"order events of an outage, {events}")
    before = 0.0
    if chance.random() < 0.7:
        before = round(chance.uniform(0.05, 0.8), 2)
        chance.choice(world.clients).place_large()
    world.timeline.after(before, lambda: world.tws.fault(do="1100", events=events, repeat=chance.choice((1, 5))))
    world.timeline.after(before + seconds, lambda: world.tws.fault(do=back))


def _disk(name: str) -> Callable[[World, random.Random], None]:
    """Return the fault that commits to a file fail for some time."""

    def strike(world: World, chance: random.Random) -> None:
        seconds = round(chance.expovariate(OUTAGE), 2) + 0.1
        world.history.fault(world.timeline.now, f"commits to {name} fail for {seconds:.2f} s")
        world.disk.fail(name)
        world.timeline.after(seconds, world.disk.fail, "")

    return strike


def _garble(world: World, chance: random.Random) -> None:
    own = [each for each in world.tws.orders if each.client == CLIENT_ID and not each.done]
    orders = [each for each in own if each.status != HELD]
    if chance.random() < 0.6:
        world.history.fault(world.timeline.now, "a report before the next answer about an order cannot be read")
        world.tws.garble_answer()
    elif orders:
        found = chance.choice(orders)
        world.history.fault(world.timeline.now, f"a report of {found.order.get('orderRef')} cannot be read")
        world.tws.garble(found)


def _nightly(world: World, chance: random.Random) -> None:
    """TWS loses IB's servers, says so again and again, restarts, and gives order ids again that were used."""
    seconds, away, ids = round(chance.uniform(5, 25), 2), round(chance.uniform(2, 60), 2), -chance.randrange(1, 30)
    events = _missed(chance)
    world.history.fault(
        world.timeline.now,
        f"nightly reset: {seconds:.2f} s without IB's servers (order events: {events}), restart, {away:.2f} s later "
        f"nextValidId has gone by {ids}",
    )
    world.tws.fault(do="1100", events=events, repeat=20, every=1.5)

    def restart() -> None:
        world.tws.fault(do="1102")
        world.tws.fault(do="restart", ids=ids, **{"for": away})

    world.timeline.after(seconds, restart)


def _requests(chance: random.Random) -> list[str]:
    return [chance.choice(("placeOrder", "cancelOrder", "reqAllOpenOrders", "reqExecutions", "reqCompletedOrders"))]


def _messages(chance: random.Random) -> list[str]:
    return [chance.choice(("orderStatus", "openOrder", "execDetails", "commissionAndFeesReport"))]


FAULTS: dict[str, Callable[[World, random.Random], None]] = {
    "kill": _kill,
    "power": _power,
    "stop": _stop,
    "client dies": _client_dies,
    "clock": _clock,
    "network reset": _reset,
    "network silence": _vanish,
    "halt": _halt,
    "halt and cancel": _halt_and_cancel,
    "global cancel": _cancel_all,
    "refuse": _tws(do="refuse", for_=True),
    "accept-close": _tws(do="accept-close", times=lambda chance: chance.randrange(1, 4)),
    "stall": _tws(do="stall", stage=lambda chance: chance.choice(("accepted", "version", "start", "ready")), for_=True),
    "half-open": _tws(do="half-open", for_=True),
    "close": _tws(do="close", abort=lambda chance: chance.random() < 0.5),
    "drop": _tws(do="drop", bytes=lambda chance: chance.randrange(2000)),
    "split": _tws(do="split", bytes=lambda chance: chance.randrange(1, 9), for_=True),
    "slow": _tws(do="slow", rate=lambda chance: chance.randrange(20, 5000), for_=True),
    "delay": _tws(do="delay", seconds=lambda chance: round(chance.expovariate(0.5), 2), for_=True),
    "late order": _tws(
        do="delay", seconds=lambda chance: chance.choice((5.0, 45.0)), requests=["placeOrder"], for_=True
    ),
    "pace": _tws(do="pace", rate=3, how=lambda chance: chance.choice(("reject", "wait")), for_=True),
    "id-in-use": _tws(do="id-in-use", how=lambda chance: chance.choice(("error", "close")), times=1),
    "stuck-id": _tws(do="stuck-id", seconds=lambda chance: round(chance.uniform(1, 20), 1), for_=True),
    "1100": _tws(do="1100", for_=True, events=_missed),
    "2110": _tws(do="2110", for_=True, events=_missed),
    "1101": _tws(do="1101"),
    "outage": _outage,
    "farm": _tws(do="farm", code=2103, farm="usfarm", for_=True),
    "1300": _tws(do="1300", port=4003),
    "restart": _tws(do="restart", ids=lambda chance: chance.choice((0, 0, 5, -3)), for_=True),
    "nightly reset": _nightly,
    "journal": _disk("orders.db"),
    "store": _disk("events.db"),
    "other client": outsiders.trade,
    "same client id": outsiders.take_the_id,
    "order by hand": outsiders.trade_by_hand,
    "cancel by hand": outsiders.cancel_by_hand,
    "transmit by hand": outsiders.transmit_by_hand,
    "garble": _garble,
    "duplicate": _tws(do="order-events", how="duplicate", times=lambda chance: chance.randrange(1, 6)),
    "reorder": _tws(do="order-events", how="reorder", times=lambda chance: chance.randrange(1, 6)),
    "lose events": _tws(do="order-events", how="lose", times=lambda chance: chance.randrange(1, 4)),
    "lose": _tws(do="lose", messages=_messages, times=lambda chance: chance.randrange(1, 4)),
    "ignore": _tws(do="ignore", requests=_requests, times=lambda chance: chance.randrange(1, 3)),
    "reject": _tws(do="reject", code=201, times=1),
    "reject 103": _tws(do="reject", code=103, text="Duplicate order id", times=1),
    "read-only": _tws(do="read-only", times=lambda chance: chance.randrange(1, 3)),
}
"""Every kind of fault, by its name."""

RESTARTS = frozenset(("kill", "power", "stop"))
"""Kinds after which another run of the daemon begins."""

BLINDNESS = frozenset(
    (
        *("network reset", "network silence", "refuse", "accept-close", "stall", "half-open", "close", "drop", "slow"),
        *("delay", "late order", "pace", "id-in-use", "stuck-id", "1300", "restart", "lose events", "lose", "ignore"),
        *("nightly reset", "same client id", "order by hand"),
    )
)
"""Kinds for which the daemon may hear too late of something that TWS has done, or never, and is not told of that."""

OUTAGES = frozenset(("1100", "2110", "outage"))
"""Kinds for which the daemon is told that it has missed something: it has to ask by itself."""


GRAVE = ("outage", "outage", "outage", "kill", "power", "restart", "network reset", "lose events", "cancel by hand")
"""Kinds that strike alone in some seeds."""


def kinds(chance: random.Random) -> list[str]:
    """Return the kinds of faults of a seed: in one of eight none, in some one or two, else some."""
    if chance.random() < 0.125:
        return []
    if chance.random() < 0.3:  # alone, or with another one: nothing else makes good what it has done
        return [chance.choice(GRAVE), *chance.sample([*FAULTS], chance.randrange(2))]
    share = chance.choice((0.08, 0.2, 0.5))
    found = [name for name in FAULTS if chance.random() < share]
    if chance.random() < 0.5:  # what a restart leaves behind is half of the matter
        found.append(chance.choice(("kill", "kill", "power")))
    return list(dict.fromkeys(found))
