"""Soak of a daemon whose TWS fails every few seconds, under 5,000 messages a second.

The TWS is the simulator (faulty_tws.py) with an accelerated market. The seed chooses among its faults
(docs/simulator.md). A client subscribes, cancels, sends requests and trades meanwhile. Two subscribers
(faults_client.py) account for every published message. In the end, with all faults off, the daemon must be ready, every
subscription alive, and memory, files and threads back to normal. No order may have been placed twice, and the last
state of each accepted order must be the one that the simulator has. The soak exits 1 on any fault of the daemon.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import sys
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import msgpack

sys.path.append(str(pathlib.Path(__file__).parents[1] / "benchmarks"))  # the harness and the feeder

from harness import Caller, bridge, child, free_ports, positive
from processes import PATIENCE, Child, InvalidError, end_cleanly

from soak import MIB, Samples

if TYPE_CHECKING:
    from collections.abc import Sequence

_HERE = pathlib.Path(__file__).parent
LINES = 90
"""Subscriptions that stay all the time. Up to ten more come and go, up to the limit of a TWS."""

SPEED = 7.0
"""Seconds of the market in a real second. So 90 to 100 lines have 5,000 changes a second, faults included."""

SETTINGS = {
    "tws.reconnect_min": 0.1,
    "tws.reconnect_max": 1.0,
    "tws.client_id_retry": 0.5,
    "tws.handshake_timeout": 2.0,
    "tws.start_timeout": 2.0,
    "tws.probe_after": 1.0,
    "tws.silence_timeout": 3.0,
    "tws.stable_after": 1.0,
    "ring.messages": 50_000,
    "ring.bytes": 16 * MIB,
    "log.level": "error",
}
"""Settings with shorter times than usual, so that the daemon notices a fault of some seconds."""

SETTLED = 20
"""Seconds before memory is judged."""

REFUSALS = frozenset(("E_NOT_CONNECTED", "E_BUSY", "E_PACING"))
ORDER = {"action": "BUY", "totalQuantity": 1, "orderType": "LMT", "lmtPrice": 1.0}
CLIENT = "soak"
SHOWN: dict[str | None, frozenset[tuple[str, str | None]]] = {
    "PreSubmitted": frozenset({("working", None)}),
    "Submitted": frozenset({("working", None)}),
    "PendingCancel": frozenset({("cancelling", None)}),
    "Filled": frozenset({("done", "filled")}),
    "Cancelled": frozenset({("done", "cancelled")}),
    "ApiCancelled": frozenset({("done", "cancelled")}),
    "Inactive": frozenset({("done", "rejected")}),
    None: frozenset({("done", "not_sent"), ("done", "not_at_tws"), ("done", "rejected")}),
}
"""States and reasons that the daemon may show of an order, by its status at the simulator (None: it is not there)."""


def stock(number: int) -> dict[str, str]:
    """Return the contract of a made-up stock."""
    symbol = f"{chr(65 + number // 26)}{chr(65 + number % 26)}X"
    return {"symbol": symbol, "secType": "STK", "exchange": "SMART", "currency": "USD"}


def faults(luck: random.Random) -> list[dict[str, Any]]:
    """Return a fault of each kind, some seconds long.

    Faults that silently kill a subscription are left out, because the daemon takes minutes to notice them.
    """
    seconds = round(luck.uniform(0.2, 3.0), 2)
    return [
        {"do": "refuse", "for": seconds},
        {"do": "accept-close", "times": luck.randrange(1, 6)},
        {"do": "stall", "stage": luck.choice(("accepted", "version", "start", "ready")), "for": seconds},
        {"do": "half-open", "for": seconds},
        {"do": "drop", "bytes": luck.randrange(20_000)},
        {"do": "close", "abort": luck.random() < 0.5},
        {"do": "split", "bytes": luck.randrange(1, 9), "for": min(seconds, 0.5)},
        {"do": "merge", "seconds": 0.2, "for": seconds},
        {"do": "slow", "rate": luck.randrange(1000, 50_000), "for": seconds},
        {"do": "greet", "announce": luck.choice((-1, 9999)), "times": 1},
        {"do": "id-in-use", "how": luck.choice(("error", "close")), "times": luck.randrange(1, 3)},
        {"do": 1100, "repeat": luck.randrange(1, 10), "every": 0.1, "for": seconds},
        {"do": 1101},
        {"do": "farm", "code": 2103, "farm": "usfarm", "for": seconds},
        {"do": "competing", "for": seconds},
        {"do": "restart", "for": seconds, "ids": luck.randrange(-50, 50)},
        {"do": "order-events", "how": luck.choice(("duplicate", "reorder", "lose")), "times": luck.randrange(1, 5)},
        {"do": "reject", "code": 201, "times": 1},
        {"do": "garbage", "kind": luck.choice(("unknown", "undecodable", "surplus", "empty", "length"))},
        {"do": "ignore", "requests": ["reqContractDetails"], "for": seconds},
    ]


class Soak:
    """A soak with its faulty TWS, daemon and subscribers."""

    def __init__(self, given: argparse.Namespace, children: ExitStack) -> None:
        self.findings: list[str] = []
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.placed: set[str] = set()  # keys of the orders that the daemon has accepted
        self.lines: dict[int, int] = {}  # by number of the stock: the command that asked for it
        self.published = 0
        self.seconds = 0.0
        self._given = given
        self._luck = random.Random(given.seed)
        ports = free_ports()
        pub, rep = (f"tcp://127.0.0.1:{port}" for port in ports)
        self.tws = children.enter_context(
            child("faulty_tws", "--seed", str(given.seed), "--speed", str(SPEED), folder=_HERE)
        )
        self.daemon = bridge(children, self.tws.hear()["port"], pub, rep, SETTINGS)
        self.caller = children.enter_context(Caller(rep))
        roles = ("all", "library")
        self.clients = {
            role: children.enter_context(child("faults_client", role, "--pub", pub, "--rep", rep, folder=_HERE))
            for role in roles
        }
        for each in self.clients.values():
            each.hear()
        self._until_ready()
        for number in range(LINES):
            self._subscribe(number)
        self.samples = Samples(self.daemon)
        self.tasks = self._status()["tasks"]

    # -- what goes on

    def run(self) -> None:
        """Inject faults and send commands, then check the daemon."""
        began = time.monotonic()
        published = self._status()["published"]
        next_fault, next_sample = began + 2, began
        while (now := time.monotonic()) < began + self._given.seconds:
            time.sleep(self._luck.uniform(0, 0.2))
            self._command()
            if now > next_fault:
                next_fault = now + self._luck.uniform(2, 6)
                self._fault(self._luck.choice(faults(self._luck)))
            if now > next_sample:
                next_sample += 1
                self.daemon.check()
                self.samples.take()
                if now > began + SETTLED and self.samples.settled is None:
                    self.samples.settled = len(self.samples.rss)
        self.seconds = time.monotonic() - began
        self.published = self._status()["published"] - published
        self._conclude()

    def _status(self) -> dict[str, Any]:
        return self.caller.result("status")

    def _until_ready(self) -> None:
        late = time.monotonic() + PATIENCE
        while self._status()["tws"]["stage"] != "ready":
            if time.monotonic() > late:
                raise InvalidError(f"the daemon does not get ready: {self._status()['tws']}")
            time.sleep(0.05)

    def _fault(self, step: dict[str, Any]) -> None:
        self.faults[str(step["do"])] += 1
        self.tws.tell(fault=step)
        self.tws.hear()

    def _at_tws(self) -> int:
        """Return the number of subscriptions at the simulator."""
        self.tws.tell(fault={"do": "figures"})
        there: int = self.tws.hear()["subscriptions"]
        return there

    def _ask(self, command: str, **args: Any) -> bool:
        """Send a command and return True if the daemon accepts it. An unexpected refusal is a finding."""
        reply = self.caller.ask(command, CLIENT, **args)
        if not reply["ok"] and reply["error"]["code"] not in REFUSALS:
            self.findings.append(f"{command} was refused: {reply['error']}")
        self.counts["accepted" if reply["ok"] else "refused"] += 1
        return bool(reply["ok"])

    def _subscribe(self, number: int) -> None:
        if self._ask("reqMktData", contract=stock(number)):
            self.lines[number] = self.caller.number

    def _command(self) -> None:
        """Send a random command."""
        which, number = self._luck.randrange(4), self._luck.randrange(LINES, LINES + 10)
        if which == 0 and number in self.lines:
            if self._ask("cancelMktData", id=self.lines[number]):
                del self.lines[number]
        elif which == 0:
            self._subscribe(number)
        elif which == 1:
            self._ask("reqContractDetails", contract=stock(number))
        elif which == 2:
            self._ask("reqAllOpenOrders")
        else:
            key = f"k{self.caller.number}"
            if self._ask("placeOrder", key=key, contract=stock(number), order=ORDER):
                self.placed.add(key)
                self._ask("cancelOrder", key=key)

    # -- in the end

    def _conclude(self) -> None:
        self._fault({"do": "off"})
        self._fault({"do": "farm", "code": 2104, "farm": "usfarm"})
        self._fault({"do": "close"})  # so that the daemon compares its orders with those of TWS
        self._until_ready()
        self._until_alive()
        self._check_orders()
        self.findings += self.samples.findings()
        if (tasks := self._status()["tasks"]) > self.tasks:
            self.findings.append(f"tasks: {self.tasks} before, {tasks} in the end")
        until = self._status()["published"]
        for role, each in self.clients.items():
            each.tell(until=until)
            self._account(role, each)

    def _until_alive(self) -> None:
        """Wait until every subscription is at TWS and delivers data, or add a finding."""
        late = time.monotonic() + 4 * PATIENCE  # after a competing session some subscriptions are silent for 15 s
        there, silent = -1, set[str]()
        before: dict[str, int] = {}
        names = {f"md.{stock(number)['symbol']}-STK-SMART-USD." for number in self.lines}
        while time.monotonic() < late:
            there = self._at_tws()
            now = self._numbers()
            silent = {name for name in names if now.get(name, 0) <= before.get(name, now.get(name, 0))}
            if there == len(self.lines) and not silent:
                return
            before = before or now
            time.sleep(1)
        self.findings.append(f"{there} subscriptions at TWS of {len(self.lines)}; silent: {sorted(silent)[:5]}")

    def _check_orders(self) -> None:
        """Wait until the states of all orders agree with the simulator's, or add findings."""
        late = time.monotonic() + 3 * PATIENCE  # an order of which TWS says nothing is looked up twice
        while wrong := self._wrong_orders():
            if time.monotonic() > late:
                self.findings += wrong[:5]
                return
            time.sleep(1)

    def _wrong_orders(self) -> list[str]:
        self.tws.tell(orders=True)
        there = {ref.removeprefix(f"{CLIENT}/"): found for ref, found in self.tws.hear()["orders"].items()}
        states = self._states()
        wrong = [f"order {key} was placed {len(found)} times" for key, found in there.items() if len(found) > 1]
        for key in self.placed | there.keys():
            status = there.get(key, [None])[0]
            if states.get(key) not in SHOWN[status]:
                wrong.append(f"order {key} is {status} at TWS, and {states.get(key)} at the daemon")
        self.ends = Counter(f"{state} {reason or ''}".strip() for state, reason in states.values())
        return wrong

    def _states(self) -> dict[str, tuple[str, str | None]]:
        """Return state and reason of each order by key, as they were published last."""
        found = {}
        for stream in self._snapshot(f"ord.{CLIENT}."):
            for _, packed in stream["messages"]:
                body = msgpack.unpackb(packed, strict_map_key=False)
                if body["type"] == "orderState":
                    found[body["ref"]["key"]] = body["data"]["state"], body["data"]["reason"]
        return found

    def _numbers(self) -> dict[str, int]:
        """Return the last sequence number of each stream of market data."""
        return {each["stream"]: each["seq"] for each in self._snapshot("md.")}

    def _snapshot(self, prefix: str) -> list[dict[str, Any]]:
        """Return the streams under a prefix, from all pages."""
        found: list[dict[str, Any]] = []
        after: dict[str, str] = {}
        while True:
            page = self.caller.result("snapshot", prefix=prefix, **after)
            found += page["streams"]
            if page["next"] is None:
                return found
            after = {"after": page["next"]}

    def _account(self, role: str, one: Child) -> None:
        try:
            said = one.hear(3 * PATIENCE)
        except InvalidError as error:
            said = {"wrong": str(error)}
        if "wrong" in said:
            self.findings.append(f"{role}: {said['wrong']}")
            return
        counts = Counter(said["counts"])
        lost = f", told that {counts['lost']:,} were lost" if counts["lost"] else ""
        print(f"  {role}: {counts['messages']:,} messages{lost}, {counts['gap']:,} gaps of TWS's")
        if not counts["gap"] or counts["messages"] < self.published / 2:
            self.findings.append(f"{role}: it has heard too little to say anything")

    def show(self) -> None:
        """Print the faults, the commands and the daemon's resources."""
        rss = self.samples.rss
        happened = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        print(f"  faults: {happened}")
        print(f"  commands: {self.counts['accepted']} accepted, {self.counts['refused']} refused")
        ends = ", ".join(f"{count} {end}" for end, count in sorted(self.ends.items()))
        print(f"  orders: {len(self.placed)} accepted; {ends}")
        print(
            f"  daemon: {rss[0] / MIB:.0f} MiB before, {max(rss) / MIB:.0f} at most, {rss[-1] / MIB:.0f} in the end; "
            f"{max(self.samples.files)} files, {max(self.samples.threads)} threads, {self.tasks} tasks; "
            f"{self.published / self.seconds:,.0f} messages a second were published"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the soak. Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=positive, default=600, help="(default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default %(default)s)")
    given = parser.parse_args(arguments)
    end_cleanly()
    print(f"soak of {given.seconds} s with faults, seed {given.seed}", flush=True)
    try:
        with ExitStack() as children:
            soak = Soak(given, children)
            soak.run()
    except InvalidError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 1
    soak.show()
    for finding in soak.findings:
        print(f"soak: {finding}", file=sys.stderr)
    if not soak.findings:
        print("the daemon lived, is ready, and everything was accounted for")
    return 1 if soak.findings else 0


if __name__ == "__main__":
    sys.exit(main())
