"""Clients of a soak, which check every message that they receive and report faults. Started and ended by `soak`.

- all: subscribes to everything. No sequence number and no offset may be missing.
- slow: has a small queue and stops reading at times. Missed messages are replayed, or reported as gone.
- late: connects, takes a snapshot, follows for a moment, and disconnects, over and over.
- commands: sends all kinds of commands, and sometimes nonsense.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import select
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import zmq

sys.path.append(str(pathlib.Path(__file__).parents[1] / "benchmarks"))  # the harness and the feeder

from expected_messages import streams
from harness import LINES, Caller
from message_checker import Checker, Sequence, WrongError
from processes import PATIENCE, hear, say
from ticks import contract

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STEP = 10_000
"""Messages between two looks for orders of the parent."""

STILL = 2.0
"""Seconds of silence after which everything counts as arrived."""


class _State(NamedTuple):
    """State of a stream in a snapshot. `split`: the stream was on more than one page."""

    seq: int
    messages: list[tuple[bytes, int]]
    split: bool


class Client:
    """Common part of the clients: sockets, snapshots, replays and their checks."""

    def __init__(self, given: argparse.Namespace, ids: list[int]) -> None:
        self.given = given
        self.chance = random.Random(given.seed)
        self.script = streams(given.version, ids, given.durable, given.seed)
        self.checker = Checker(self.script)
        self.counts: Counter[str] = Counter()

    def subscribed(self, context: zmq.Context[zmq.Socket[bytes]], *prefixes: bytes, room: int = 0) -> zmq.Socket[bytes]:
        """Return a socket whose subscriptions have been confirmed. A small `room` also limits the kernel's buffer."""
        socket = context.socket(zmq.SUB)
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.RCVHWM, room)
        if room:
            socket.set(zmq.RCVBUF, 65536)
        socket.set(zmq.RCVTIMEO, int(PATIENCE * 1000))
        socket.connect(self.given.pub)
        for prefix in prefixes:
            socket.subscribe(prefix)
            while socket.recv() != prefix or b"welcome" not in socket.recv():
                if socket.get(zmq.RCVMORE):
                    socket.recv()
        socket.set(zmq.RCVTIMEO, 100)
        return socket

    def state(self, caller: Caller, prefix: bytes) -> dict[bytes, int]:
        """Take and check a snapshot. Return the sequence numbers of the streams under `prefix`. Raises `WrongError`."""
        found: dict[bytes, _State] = {}
        after: dict[str, str] = {}
        while True:
            page = caller.result("snapshot", prefix=prefix.decode(), **after)
            self.counts["pages"] += 1
            for each in page["streams"]:
                name, seq = each["stream"].encode(), each["seq"]
                known = found.get(name)
                split = known is not None and known.seq == seq
                state = found[name] = _State(seq, known.messages if known and split else [], split)
                state.messages.extend((topic, self._number(topic, body)) for topic, body in each["messages"])
            if page["next"] is None:
                break
            after = {"after": page["next"]}
        for name, state in found.items():
            if name in self.script:
                self._right(name, state)
        return {name: state.seq for name, state in found.items()}

    def _right(self, name: bytes, state: _State) -> None:
        due, given = self.script[name].state(state.seq), set(state.messages)
        # A stream on several pages lacks the values that changed in between: the subscription delivers them.
        if len(given) != len(state.messages) or not (given <= due if state.split else given == due):
            what = f"without {sorted(due - given)}, and with {sorted(given - due)}"
            raise WrongError(f"the snapshot of {name.decode()} at number {state.seq} is its state {what}")

    def _number(self, topic: bytes, body: bytes) -> int:
        numbers = self.checker.numbers(topic, body)
        if numbers is None:
            raise WrongError(f"a message of the snapshot has no number: {topic.decode()}")
        _, seq, _ = numbers
        return seq

    def replayed(self, caller: Caller, stream: bytes, first: int, last: int) -> Iterator[int]:
        """Replay and check messages. Yield their sequence numbers, and count those gone. Raises `WrongError`."""
        following: int | None = first
        while following is not None:
            reply = caller.ask("replay", None, stream=stream.decode(), **{"from": following, "to": last})
            if not reply["ok"]:
                error = reply["error"]
                if error["code"] != "E_GAP_TOO_OLD" or not error["first"] > following:
                    raise WrongError(f"replay of {stream.decode()} {following} to {last}: {error}")
                self.counts["told gone"] += min(error["first"], last + 1) - following
                following = error["first"] if error["first"] <= last else None
                continue
            for topic, body in reply["result"]["messages"]:
                numbers = self.checker.numbers(topic, body)
                if numbers is None or numbers[:2] != (stream, following):
                    raise WrongError(f"replay of {stream.decode()}: {numbers} where {following} was due")
                yield following
                following += 1
            if reply["result"]["next"] not in (following, None) or (reply["result"]["next"] is None) != (
                following > last
            ):
                raise WrongError(f"replay of {stream.decode()}: next is {reply['result']['next']}, not {following}")
            following = reply["result"]["next"]


def told() -> dict[str, Any] | None:
    """Return the next object of the parent, if there is one."""
    return hear() if select.select([sys.stdin], [], [], 0)[0] else None


def everything(client: Client) -> None:
    """Follow all streams, up to the offset that the parent names in the end."""
    numbers, sequence = client.checker.numbers, Sequence(dict.fromkeys(client.script, 0))
    gap, due, until, silent = sequence.gap, 0, 0, 0.0
    with zmq.Context() as context, client.subscribed(context, b"") as socket:
        recv = socket.recv
        say(ready=True)
        while not until or due <= until:
            try:
                for _ in range(STEP):
                    found = numbers(recv(), recv())
                    if found is None:
                        continue
                    stream, seq, offset = found
                    if gap(stream, seq) or offset != due != 0:
                        raise WrongError(f"{stream.decode()} number {seq}, offset {offset}: {due} was due")
                    due = offset + 1
                    if offset == until:
                        break
                silent = 0.0
            except zmq.Again:
                silent += 0.1
                if until and silent > STILL:
                    raise WrongError(f"offsets {due} to {until} did not arrive") from None
            if said := told():
                until = said["until"]
    fed = sum(seq for stream, seq in sequence.last.items() if stream in client.script)
    say(counts={"fed messages": fed, "of the daemon's own": due - 1 - fed})


def slow(client: Client) -> None:
    """Read and stop in turns, and replay the missing messages."""
    sequence, mended = Sequence(dict.fromkeys(client.script, 0)), 0
    with (
        zmq.Context() as context,
        client.subscribed(context, b"md.", room=1000) as socket,
        Caller(client.given.rep) as caller,
    ):
        say(ready=True)
        ended = False
        while not ended:
            _stop(client, caller)
            gaps: list[tuple[bytes, int, int]] = []
            _read(client, socket, sequence, gaps, seconds=client.chance.uniform(0.5, 2.0))
            if ended := told() is not None:
                while _read(client, socket, sequence, gaps, seconds=STILL):
                    pass
                for stream, seq in client.state(caller, b"md.").items():  # no message shows a loss at the very end
                    if lost := sequence.gap(stream, seq + 1):
                        gaps.append((stream, *lost))
                    sequence.last[stream] = seq
            for stream, first, last in gaps:
                client.counts["gaps"] += 1
                client.counts["lost"] += last + 1 - first
                mended += sum(1 for _ in client.replayed(caller, stream, first, last))
    counts = client.counts
    if sum(sequence.last.values()) != counts["live"] + mended + counts["told gone"]:
        raise WrongError(f"{sum(sequence.last.values())} were published, {counts} had, {mended} replayed")
    if not mended:
        raise WrongError("nothing was replayed: the slow subscriber was not slow enough to lose any")
    say(counts={**counts, "replayed": mended})


def _stop(client: Client, caller: Caller) -> None:
    """Stop reading until so much has been published that messages are lost, or for eight seconds."""
    most = client.given.behind
    began, late = caller.result("status")["published"], time.monotonic() + 8
    while caller.result("status")["published"] < began + most and time.monotonic() < late:
        time.sleep(0.1)
        if select.select([sys.stdin], [], [], 0)[0]:
            return


def _read(
    client: Client, socket: zmq.Socket[bytes], sequence: Sequence, gaps: list[tuple[bytes, int, int]], seconds: float
) -> int:
    """Read messages for `seconds`, note the gaps, and return the number of messages."""
    count, until = 0, time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            for _ in range(200):
                found = client.checker.numbers(socket.recv(), socket.recv())
                if found and (lost := sequence.gap(*found[:2])):
                    stream, _, _ = found
                    gaps.append((stream, *lost))
                count += found is not None
    except zmq.Again:
        pass
    client.counts["live"] += count
    return count


def late(client: Client) -> None:
    """Connect, take a snapshot, follow and disconnect, until the parent ends the soak."""
    names = sorted(client.script)
    with Caller(client.given.rep) as caller:
        say(ready=True)
        while told() is None:
            time.sleep(client.chance.uniform(0.2, 3.0))
            prefix = client.chance.choice([b"md.", b"ord.", b"acct.", b"exec.", *client.chance.sample(names, 3)])
            with zmq.Context() as context, client.subscribed(context, prefix) as socket:
                last = {name: 0 for name in names if name.startswith(prefix)} | client.state(caller, prefix)
                _follow(client, socket, last)
                client.counts["joined"] += 1
    say(counts=client.counts)


def _follow(client: Client, socket: zmq.Socket[bytes], last: dict[bytes, int]) -> None:
    sequence, until = Sequence(dict(last)), time.monotonic() + 1.5
    while time.monotonic() < until:
        try:
            topic, body = socket.recv(), socket.recv()
        except zmq.Again:
            continue
        found = client.checker.numbers(topic, body)
        if found is None:
            continue
        stream, seq, _ = found
        if seq <= last.get(stream, 0):  # the snapshot had this message already
            client.counts["dropped"] += 1
        elif lost := sequence.gap(stream, seq):
            raise WrongError(f"{stream.decode()}: {lost} are missing behind the snapshot at {last.get(stream)}")
        else:
            client.counts["followed"] += 1


def commands(client: Client) -> None:
    """Send one command after another, until the parent ends the soak."""
    does: list[Callable[[Client, Caller], None]] = [_ping, _status, _some_state, _some_replay, _shared, _nonsense]
    weights = [60, 5, 10, 10, 10, 5]
    with Caller(client.given.rep) as caller:
        say(ready=True)
        slowest = 0.0
        while told() is None:
            time.sleep(client.chance.expovariate(30))
            (do,) = client.chance.choices(does, weights)
            began = time.monotonic()
            do(client, caller)
            slowest = max(slowest, time.monotonic() - began)
            client.counts[do.__name__[1:]] += 1
    say(counts={**client.counts, "slowest ms": round(slowest * 1000)})


def _ping(_: Client, caller: Caller) -> None:
    if caller.result("ping").get("pong") is not True:
        raise WrongError("the reply to a ping is another one")


def _status(_: Client, caller: Caller) -> None:
    if caller.result("status")["tws"]["stage"] != "ready":
        raise WrongError("the connection to TWS was lost")


def _some_state(client: Client, caller: Caller) -> None:
    client.state(caller, client.chance.choice(sorted(client.script)))


def _some_replay(client: Client, caller: Caller) -> None:
    name = client.chance.choice(sorted(client.script))
    seq = client.state(caller, name).get(name, 0)
    if seq:
        first, gone = max(1, seq - client.chance.randrange(200)), client.counts["told gone"]
        got = sum(1 for _ in client.replayed(caller, name, first, seq)) + client.counts["told gone"] - gone
        if got != seq + 1 - first:
            raise WrongError(f"{got} of the messages {first} to {seq} of {name.decode()} were replayed")


def _shared(client: Client, caller: Caller) -> None:
    about = {"contract": contract(LINES + client.chance.randrange(20))}
    caller.result("reqMktData", "soak", **about)
    caller.result("cancelMktData", "soak", id=caller.number)


def _nonsense(_: Client, caller: Caller) -> None:
    reply = caller.ask("replay", None, stream="no.such.", **{"from": 0})
    if reply["ok"] or reply["error"]["code"] != "E_ARG":
        raise WrongError(f"nonsense was answered with {reply}")


ROLES: dict[str, Callable[[Client], None]] = {"all": everything, "slow": slow, "late": late, "commands": commands}


def main() -> int:
    """Run the client of a role. Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--pub", required=True)
    parser.add_argument("--rep", required=True)
    parser.add_argument("--version", type=int, required=True)
    parser.add_argument("--durable", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--behind", type=int, required=True, help="messages for which the slow one stops")
    given = parser.parse_args()
    client = Client(given, hear()["ids"])
    try:
        ROLES[given.role](client)
    except WrongError as error:
        say(wrong=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
