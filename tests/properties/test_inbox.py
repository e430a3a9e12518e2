"""Messages of one feed, taken by many threads: each owner of a request gets its responses once and in order."""

from __future__ import annotations

from collections import deque

import msgpack
from hypothesis import given
from hypothesis import strategies as st

from ibbridge.client.inbox import Inbox, Watch
from ibbridge.client.message import Message, parse
from ibbridge.client.request import Request

OWNERS = ("first", "second", "third")

# Each step: a response to the request of an owner arrives, a stranger takes the next message, an owner looks for its
# next response, or a thread waits for news of TWS.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arrive"), st.sampled_from(OWNERS)),
        st.tuples(st.just("take"), st.just("stranger")),
        st.tuples(st.just("pick"), st.sampled_from(OWNERS)),
        st.tuples(st.just("skip"), st.just("")),
    ),
    max_size=60,
)


def response(owner: str, seq: int) -> Message:
    body = {"type": "contractDetails", "v": 1, "gen": 1, "epoch": 7, "offset": seq, "seq": seq, "ts": 1}
    ref = {"client": "me", "id": owner}
    return parse(f"req.me.{owner}.contractDetails.".encode(), msgpack.packb({**body, "ref": ref}))


class Owners:
    """Inbox with a watch per owner, and the messages that each owner has picked."""

    def __init__(self) -> None:
        self.inbox = Inbox(deque())
        self.watches: dict[str, Watch] = {}
        self.picked: dict[str, list[int]] = {owner: [] for owner in OWNERS}
        self.taken: list[tuple[str, int]] = []
        self.arrived: list[tuple[str, int]] = []
        for owner in OWNERS:
            request = Request("reqContractDetails", owner, "me", f"req.me.{owner}.", one_shot=True)
            self.watches[owner] = self.inbox.watch(request, owner)

    def do(self, step: str, who: str) -> bool:
        """Do one step. Return False if it found nothing."""
        if step == "arrive":
            seq = len(self.arrived) + 1
            self.inbox.ready.append(response(who, seq))
            self.arrived.append((who, seq))
        elif step == "skip":
            return self.inbox.skip_to_news_of_tws()
        elif step == "take":
            if not self.inbox:
                return False
            taken = self.inbox.next(who)
            self.taken.append((taken.ref["id"], taken.seq))
        else:
            picked = self.inbox.pick(self.watches[who])
            if picked is None:
                return False
            self.picked[who].append(picked.seq)
        return True


@given(STEPS)
def test_each_owner_gets_its_responses_once_and_in_order_whoever_else_takes_messages(
    steps: list[tuple[str, str]],
) -> None:
    owners = Owners()
    for step, who in steps:
        owners.do(step, who)
    for owner in OWNERS:
        while owners.do("pick", owner):
            pass
        assert owners.picked[owner] == [seq for who, seq in owners.arrived if who == owner]
    while owners.do("take", "stranger"):
        pass
    assert owners.taken == sorted(owners.taken, key=lambda each: each[1]), "taken out of order"
    assert len(set(owners.taken)) == len(owners.taken), "taken twice"
    missed = set(owners.arrived) - set(owners.taken)
    assert all(seq in owners.picked[who] for who, seq in missed)


def test_a_response_that_another_owner_set_aside_comes_once() -> None:
    owners = Owners()
    for step, who in (("arrive", "first"), ("arrive", "second"), ("pick", "second"), ("take", "stranger")):
        assert owners.do(step, who)
    while owners.do("pick", "first"):
        pass
    assert owners.picked["first"] == [1]
