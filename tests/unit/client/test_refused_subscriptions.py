"""A refused subscription, and heartbeats for others, as the stream follower of the client takes them."""

from __future__ import annotations

from typing import Any

import msgpack

from ibbridge.client.stream_follower import StreamFollower


def said(kind: str, **data: Any) -> bytes:
    """Return the body of a message outside the streams."""
    return msgpack.packb({"type": kind, "epoch": 7, "gen": 1, "ts": 1, "data": data})  # type: ignore[no-any-return]


def test_a_refusal_is_an_event_once() -> None:
    follower = StreamFollower()
    follower.subscribe("ord.")
    about = {"prefix": "ord.", "role": "data", "allowed": ["md."], "fault": "not allowed"}
    for _ in range(2):
        follower.take(b"ord.\0", said("refused", **about))
    (event,) = follower.ready
    assert (event.type, event.data["prefix"], event.data["role"]) == ("refused", "ord.", "data")
    assert follower.refused.keys() == {"ord."}
    follower.unsubscribe("ord.")
    assert not follower.refused


def test_a_refusal_of_another_prefix_is_not_ours() -> None:
    follower = StreamFollower()
    follower.subscribe("md.")
    follower.take(b"ord.\0", said("refused", prefix="ord.", role="data", fault="no"))
    assert not follower.ready
    assert not follower.refused


def test_whoever_sees_everything_drops_the_heartbeats_for_others() -> None:
    follower = StreamFollower()
    follower.take(b"sys.bridge.heartbeat.", said("heartbeat", beat=1, offset=0, seqs={}))
    follower.take(b"sys.bridge.heartbeat.data.", said("heartbeat", beat=1, offset=0, seqs={}, **{"for": "data"}))
    assert [each.topic for each in follower.ready] == ["sys.bridge.heartbeat."]


def test_whoever_sees_less_takes_the_heartbeats_for_it() -> None:
    follower = StreamFollower()
    follower.take(b"sys.bridge.heartbeat.data.", said("heartbeat", beat=1, offset=0, seqs={}, **{"for": "data"}))
    assert [each.type for each in follower.ready] == ["heartbeat"]
