"""A daemon whose TWS fails every few seconds, for a long time, under 5,000 messages a second.

The TWS is the simulator (faulty_tws.py), its market faster than life; what goes wrong is any of its faults
(docs/simulator.md), as the seed has it. Clients subscribe, cancel, ask and trade meanwhile. Two subscribers
(faults_client.py) account for every message that is published. In the end, with all faults off, the daemon must be
ready, every subscription alive, and memory, files and threads must be what they were. Exits 1 if anything is wrong.
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

sys.path.append(str(pathlib.Path(__file__).parents[1] / "benchmarks"))  # the harness, and what TWS says

from harness import Caller, bridge, child, free_ports, positive
from processes import PATIENCE, Child, InvalidError, end_cleanly

from soak import MIB, Samples

if TYPE_CHECKING:
    from collections.abc import Sequence

_HERE = pathlib.Path(__file__).parent
LINES = 90
"""Subscriptions that stay all the time; up to ten others come and go, which makes as many as a TWS allows."""

SPEED = 7.0
"""Seconds of the market in one of ours: then 90 to 100 lines have 5,000 changes a second, what faults take included."""

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
"""Everything as usual, but sooner: a fault of some seconds shall be one."""

SETTLED = 20
"""Seconds before memory is judged."""

REFUSALS = frozenset(("E_NOT_CONNECTED", "E_BUSY", "E_PACING"))
ORDER = {"action": "BUY", "totalQuantity": 1, "orderType": "LMT", "lmtPrice": 1.0}


def stock(number: int) -> dict[str, str]:
    """One of many."""
    symbol = f"{chr(65 + number // 26)}{chr(65 + number % 26)}X"
    return {"symbol": symbol, "secType": "STK", "exchange": "SMART", "currency": "USD"}


def faults(luck: random.Random) -> list[dict[str, Any]]:
    """One of each kind, some seconds long. Not those after which a stream is dead in silence: that takes minutes."""
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
    """One run."""

    def __init__(self, given: argparse.Namespace, children: ExitStack) -> None:
        self.findings: list[str] = []
        self.counts: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
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
        """Let things go wrong, then see that all is well."""
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
        """How many subscriptions there are."""
        self.tws.tell(fault={"do": "figures"})
        there: int = self.tws.hear()["subscriptions"]
        return there

    def _ask(self, command: str, **args: Any) -> bool:
        """Whether it was accepted. A refusal that nobody should get is a finding."""
        reply = self.caller.ask(command, "soak", **args)
        if not reply["ok"] and reply["error"]["code"] not in REFUSALS:
            self.findings.append(f"{command} was refused: {reply['error']}")
        self.counts["accepted" if reply["ok"] else "refused"] += 1
        return bool(reply["ok"])

    def _subscribe(self, number: int) -> None:
        if self._ask("reqMktData", contract=stock(number)):
            self.lines[number] = self.caller.number

    def _command(self) -> None:
        """Any that a client may send."""
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
                self._ask("cancelOrder", key=key)

    # -- in the end

    def _conclude(self) -> None:
        self._fault({"do": "off"})
        self._fault({"do": "farm", "code": 2104, "farm": "usfarm"})
        self._until_ready()
        self._until_alive()
        self.findings += self.samples.findings()
        if (tasks := self._status()["tasks"]) > self.tasks:
            self.findings.append(f"tasks: {self.tasks} before, {tasks} in the end")
        until = self._status()["published"]
        for role, each in self.clients.items():
            each.tell(until=until)
            self._account(role, each)

    def _until_alive(self) -> None:
        """Every subscription is there at TWS, and each speaks."""
        late = time.monotonic() + 4 * PATIENCE  # a competing session that ended may have left some for 15 s
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

    def _numbers(self) -> dict[str, int]:
        """The last number of each stream of market data."""
        found: dict[str, int] = {}
        after: dict[str, str] = {}
        while True:
            page = self.caller.result("snapshot", prefix="md.", **after)
            found.update((each["stream"], each["seq"]) for each in page["streams"])
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
        """What it was like."""
        rss = self.samples.rss
        happened = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        print(f"  faults: {happened}")
        print(f"  commands: {self.counts['accepted']} accepted, {self.counts['refused']} refused")
        print(
            f"  daemon: {rss[0] / MIB:.0f} MiB before, {max(rss) / MIB:.0f} at most, {rss[-1] / MIB:.0f} in the end; "
            f"{max(self.samples.files)} files, {max(self.samples.threads)} threads, {self.tasks} tasks; "
            f"{self.published / self.seconds:,.0f} messages a second were published"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; the exit code."""
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
