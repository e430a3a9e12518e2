"""Faults without sockets: how scripts are read, what the pipe does to bytes, and IB's limits, in virtual time."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.codec import Dialect
from ibbridge.sim.engine import EPOCH, SimulatedTws
from ibbridge.sim.faults.byte_pipe import BytePipe
from ibbridge.sim.faults.control_socket import reply
from ibbridge.sim.faults.corrupt_frames import garbled
from ibbridge.sim.faults.injector import FaultInjector
from ibbridge.sim.faults.script import FAULTS, FaultError, FaultStep, read, step, wrong
from ibbridge.sim.pacing_rules import HistoryRules, Rate
from tests.support.simulator_client import AAPL, EURUSD

EARLY = "comes before a client has said its id, or concerns the whole port; leave it out"


def test_a_script_is_a_list_of_steps():
    steps = read("- {at: 5, do: 1100, client: 1, for: 3}\n- {on: reqMktData, do: close}\n- {after: 1, do: off}\n")
    assert steps == [
        FaultStep("1100", 1, {"repeat": 1, "every": 1.0, "events": "late"}, at=5, lasts=3),
        FaultStep("close", None, {"abort": False}, on="reqMktData"),
        FaultStep("off", None, {"fault": ""}, after=1),
    ]
    assert read("") == []


def test_all_that_is_wrong_with_a_script_is_said_at_once():
    script = """\
- {do: hlaf-open}
- do: slow
  at: 1
  after: 2
- {do: close, client: -1, for: 3, aborrt: true}
- {do: refuse, client: 1}
- {do: stall, stage: version, client: 1}
- {do: ignore, requests: [reqNothing]}
- close
- {on: reqMktDat, do: close}
"""
    with pytest.raises(FaultError) as caught:
        read(script, "night.yaml")
    assert caught.value.faults == [
        "night.yaml:1: step 1: do: 'hlaf-open' is no fault; did you mean half-open?",
        "night.yaml:2: step 2: only one of at, after, on can say when",
        "night.yaml:2: step 2: rate: is missing; it must be a whole number from 1",
        "night.yaml:5: step 3: client: -1 must be a whole number from 0",
        "night.yaml:5: step 3: for: close happens once and is over; leave it out",
        "night.yaml:5: step 3: aborrt: unknown; did you mean abort?",
        f"night.yaml:6: step 4: client: refuse {EARLY}",
        "night.yaml:6: step 4: for: refuse needs the seconds for which the port is closed",
        f"night.yaml:7: step 5: client: stall {EARLY}",
        "night.yaml:8: step 6: requests: ['reqNothing'] must be a list of IB's requests",
        "night.yaml:9: step 7: a step is a map such as {at: 5, do: close, client: 1}",
        "night.yaml:10: step 8: on: 'reqMktDat' must be the name of a request of IB's",
    ]


@pytest.mark.parametrize(("text", "line"), [("do: close", 1), ("- {do: close", 1), ("- do: close\n  at: [1\n", 3)])
def test_what_is_no_list_of_steps_is_said_with_its_line(text, line):
    with pytest.raises(FaultError, match=rf"^s\.yaml:{line}: .*a script is a YAML list of steps"):
        read(text, "s.yaml")


@hypothesis.example({"requests": [[]]}, "ignore")
@hypothesis.example({"on": []}, "close")
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda each: (
    st.lists(each) | st.dictionaries(st.sampled_from(["do", "at", "for", "client", "requests", "x"]), each)
)), st.sampled_from(sorted(FAULTS)))  # fmt: skip
def test_whatever_a_step_is_it_is_taken_or_told(made, do):
    for each in (made, {**made, "do": do} if isinstance(made, dict) else {"do": do, "at": made}):
        faults = list(wrong(each))
        with pytest.raises(FaultError) if faults else contextlib.nullcontext():
            assert step(each).do in FAULTS


def test_commands_that_cannot_be_read_are_told():
    assert reply(b"\xc1", lambda _: {}) == {"ok": False, "error": "a step is one msgpack map"}
    assert reply(b"\x05", lambda given: {"made": step(given)})["ok"] is False


# -- the pipe ---------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.binary(max_size=50), st.floats(0, 2)), max_size=20),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([0, 7]),
)
def test_a_pipe_loses_and_reorders_nothing(puts, piece, gather, rate):
    pipe, now, out = BytePipe(), 0.0, b""
    pipe.piece, pipe.gather, pipe.rate = piece, gather, rate
    for data, wait in puts:
        pipe.put(data, now)
        now += wait
        pieces = pipe.take(now)
        assert not piece or all(len(each) <= piece for each in pieces)
        out += b"".join(pieces)
    for _ in range(1000):
        now += 1.0
        out += b"".join(pipe.take(now))
    assert out == b"".join(data for data, _ in puts)


def test_a_slow_pipe_lets_so_many_bytes_out_in_a_second():
    pipe = BytePipe()
    pipe.rate = 10
    pipe.put(bytes(100), 5.0)
    sizes = [sum(map(len, pipe.take(5.0 + quarter / 4))) for quarter in range(1, 21)]
    windows = [sum(sizes[start : start + 4]) for start in range(4, 16)]
    assert all(9 <= each <= 11 for each in windows)


def test_a_pipe_gathers_holds_and_is_cut():
    pipe = BytePipe()
    pipe.gather = 0.1
    pipe.put(b"ab", 1.0)
    pipe.put(b"cd", 1.05)
    assert (pipe.take(1.09), pipe.take(1.1)) == ([], [b"abcd"])
    pipe.held = True
    pipe.put(b"efgh", 2.0)
    assert pipe.take(9.0) == []
    pipe.held, pipe.left = False, 3
    assert (pipe.take(9.0), pipe.cut) == ([b"efg"], True)


# -- limits -----------------------------------------------------------------------------------------------------------


def test_the_rate_is_the_most_in_any_second():
    rate = Rate()
    counts = [rate.count(now) for now in (0.0, 0.1, 0.9, 1.0, 1.05, 3.0)]
    assert (counts, rate.most) == ([1, 2, 3, 3, 4, 1], 4)
    assert [rate.strike(now) for now in (1.0, 1.5, 2.0)] == [True, False, True]


def asked(number, contract=AAPL, size="5 secs", shows="TRADES", **more):
    return {"reqId": number, "contract": contract, "barSizeSetting": size, "whatToShow": shows, **more}


def broken(rules, args, now, name="reqHistoricalData"):
    text = rules.violated(name, args, now)
    if not text:
        rules.end("historicalData", args["reqId"])
    return bool(text)


def test_the_same_history_within_15_seconds_is_a_violation():
    rules = HistoryRules()
    assert [broken(rules, asked(1), 0.0), broken(rules, asked(2), 14.9), broken(rules, asked(3), 15.0)] == [
        False, True, False,
    ]  # fmt: skip
    assert not broken(rules, asked(4, size="1 min"), 15.0)
    assert not broken(rules, asked(5, size="1 min"), 15.0)


def test_six_of_one_contract_in_two_seconds_are_a_violation():
    rules = HistoryRules()
    assert [broken(rules, asked(n, durationStr=f"{n + 1} S"), n * 0.1) for n in range(6)] == [False] * 5 + [True]
    assert not broken(rules, asked(7, EURUSD), 0.6)
    assert not broken(rules, asked(8, durationStr="60 S"), 2.05)


@pytest.mark.parametrize(("shows", "most"), [("TRADES", 60), ("BID_ASK", 30)])
def test_sixty_in_ten_minutes_and_bid_ask_counts_twice(shows, most):
    rules = HistoryRules()
    results = [broken(rules, asked(n, durationStr=f"{n + 1} S", shows=shows), n * 1.0) for n in range(most + 1)]
    assert results == [False] * most + [True]
    assert not broken(rules, asked(99, durationStr="99 S", shows=shows), 601.0)


def test_fifty_are_open_at_once():
    rules = HistoryRules()
    for number in range(50):
        assert not rules.violated("reqHistoricalData", asked(number, size="1 hour", keepUpToDate=True), 0.0)
        rules.end("historicalData", number)
    assert rules.violated("reqHistoricalData", asked(50, size="1 hour"), 0.0)
    rules.end("cancelHistoricalData", 7)
    assert not rules.violated("reqHistoricalData", asked(50, size="1 hour"), 0.0)


@pytest.mark.parametrize("version", [176, 201, 226])
def test_garbage_is_what_it_says(version):
    whole = Dialect.server(version).put("currentTime", {"time": 1_767_623_400})
    client = Dialect.client(version)
    read_back = {kind: client.read(garbled(whole, kind)[4:]) for kind in ("unknown", "undecodable", "surplus")}
    assert type(read_back["undecodable"]).__name__ == "Undecodable"
    assert type(read_back["unknown"]).__name__ == "Undecodable"
    assert garbled(whole, "empty") == bytes(4)
    assert garbled(whole, "length")[:4] == b"\xff\xff\xff\xff"


def test_the_documentation_has_every_fault_with_an_example_that_holds():
    page = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| .* \| `(\{.*\})` \|$", page, re.MULTILINE)
    assert [name for name, _ in rows] == list(FAULTS)
    for name, example in rows:
        assert [each.do for each in read(f"- {example}")] == [name]
    assert len(read(page.partition("```yaml")[2].partition("```")[0])) == 4


NIGHT = """\
- {at: 2, do: 1100, repeat: 3, every: 1, for: 4}
- {at: 7, do: farm, code: 2103, farm: usfarm, for: 2}
- {on: reqContractDetails, do: order-events, how: duplicate, client: 1}
- {after: 5, do: 1101}
"""


def night():
    """Return the messages that a client hears in twenty seconds, each with its time."""
    host = SimulatedTws(1)
    trouble = FaultInjector(host, pace=5)
    trouble.schedule.plan(read(NIGHT), 100.0)
    session = host.connect(1)
    trouble.joined(session)
    asked: dict[float, tuple[str, dict[str, object]]] = {
        1.0: ("reqMktData", {"reqId": 5, "contract": AAPL}),
        9.5: ("reqContractDetails", {"reqId": 6}),
    }
    heard = []
    for now in (quarter / 4 for quarter in range(80)):
        for each in trouble.schedule.due(100.0 + now):
            trouble.begin(each, 100.0 + now)
        trouble.tick(100.0 + now)
        host.advance(EPOCH + now)
        if now in asked:
            trouble.asked(session, *asked[now], 100.0 + now)
        heard += [(now, *each) for each in trouble.said(session, session.take())]
    return heard


def test_the_same_seed_script_and_times_give_the_same():
    heard = night()
    assert heard == night()
    told = [(now, data["errorCode"]) for now, name, data in heard if name == "error" and now]
    assert told[:6] == [(2.0, 1100), (3.0, 1100), (4.0, 1100), (6.0, 1102), (7.0, 2103), (9.0, 2104)]
    assert told[-1] == (12.0, 1101)
    ticks = {now for now, name, _ in heard if name.startswith("tick")}
    assert ticks
    assert not [now for now in ticks if 2 <= now < 6 or 7 <= now < 9 or now >= 12]
    assert [now for now in ticks if 6 <= now < 7]
    assert [now for now in ticks if 9 <= now < 12]
