"""Gap recovery: merges live, replayed and snapshot messages of each stream in the order of their sequence numbers.

This module knows sequence numbers, holes and state. It must not know subscriptions, epochs, sockets or time:
`stream_follower` says when a stream begins, continues in another epoch, or ends.

A reply may overtake messages that were published before the reply was made. So a stream begins with its state from a
snapshot only after a message newer than the snapshot, or a message of this stream, has arrived. Messages that were
under way have arrived by then, too.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ibbridge.client.events import Gap
from ibbridge.client.message import Message, parse
from ibbridge.client.stream_state import Pages, Prefix, StreamEvent, StreamSnapshot, StreamStage, StreamState

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 1_000_000
"""Limit of messages held for streams that wait for a reply. Further messages are dropped and replayed later."""

WITHHELD = "withheld"
"""Type of a replayed message that this client may not see. Its number counts."""

_BOOKS = frozenset(("updateMktDepth", "updateMktDepthL2"))


class GapRecovery:
    """Followed streams, their messages that are `ready` for delivery, and the queue of streams that need a command."""

    def __init__(self, most: int) -> None:
        self.ready: deque[Message] = deque()
        self.epoch: int | None = None
        self._most = most
        self._tracks: dict[str, StreamState] = {}
        self._kept = 0
        self._queue: dict[Prefix | StreamState, None] = {}
        self._offset = 0  # the highest offset that has arrived in this epoch
        self._found: dict[StreamState, None] = {}  # streams that wait to begin with the state from a snapshot

    def _arrived(self, offset: int) -> None:
        """Note that all messages up to this offset have arrived, and begin the streams that waited for that."""
        if offset <= self._offset:
            return
        self._offset = offset
        for track in [track for track in self._found if track.found is None or track.found.offset <= offset]:
            self._begin_found(track)

    def _receive(self, track: StreamState, message: Message) -> None:
        seq = message.seq
        if seq <= track.last:
            return
        if track.last < 0 and not track.first:
            track.first = seq
        if self._kept < self._most or track.state is StreamStage.LIVE:
            track.held.append(message)
            self._kept += 1
        track.target = max(track.target, seq)
        on_its_way = track.state is StreamStage.FILLING and track.held and track.held[0].seq == track.last + 1
        if track.found is not None:
            self._begin_found(track)
        elif track.state is StreamStage.LIVE or on_its_way:
            self._advance(track)

    def _suspend(self, track: StreamState) -> None:
        """Prepare a stream to continue in the next epoch. Held messages are dropped, and replayed later."""
        track.reached = max(track.reached, track.target)
        track.target, track.pages, track.rows, track.found = 0, Pages(), [], None
        self._found.pop(track, None)
        self._release(track)
        self._apply(track, StreamEvent.RESTART)

    def _give_up(self, track: StreamState) -> None:
        """Deliver the held messages of a stream that cannot be recovered, report the missing ones, and drop it."""
        last = track.last if track.last >= 0 else track.first - 1
        for message in track.held:
            self._report_gap(track, last, message.seq - 1, "E_GAP_TOO_OLD")
            last = message.seq
            self.ready.append(message)
        self._report_gap(track, last, max(track.target, track.reached), "E_GAP_TOO_OLD")
        self._drop(track)

    def _drop(self, track: StreamState) -> None:
        self._found.pop(track, None)
        self._release(track)
        self._apply(track, StreamEvent.LEAVE)
        del self._tracks[track.prefix]

    def _release(self, track: StreamState) -> None:
        self._kept -= len(track.held)
        track.held.clear()

    # -- streams

    def _advance(self, track: StreamState) -> None:
        """Deliver the held messages that are next in order, and request a replay of a hole before the rest."""
        held = track.held
        while held and (held[0].seq <= track.last + 1 or track.partial):
            self._kept -= 1
            self._pass(track, held.popleft())
        if track.rows and (track.last >= track.rows_at or track.partial):
            self._give_rows(track)
        hole = not track.partial and track.missing > track.last
        if not hole:
            track.skip = 0
        self._apply(track, StreamEvent.HOLE if hole else StreamEvent.WHOLE)

    def _pass(self, track: StreamState, message: Message) -> None:
        if message.seq <= track.last:
            return
        if track.rows and message.seq > track.rows_at:
            self._give_rows(track)
        track.last = message.seq
        if message.epoch > track.skip and message.type != WITHHELD:
            self.ready.append(message)

    def _give_rows(self, track: StreamState) -> None:
        self.ready.extend(track.rows)
        track.rows = []

    def _state(self, track: StreamState, state: StreamSnapshot, after: int, to: int) -> None:
        """Deliver the messages of a snapshot with sequence numbers above `after` and up to `to`.

        Later messages arrive by themselves. Synthetic rows of a market depth book are the exception: the daemon makes
        them for the snapshot, so they are kept until the stream reaches the sequence number of the snapshot.
        """
        track.rows = []
        for topic, packed in state.rows:
            message = replayed(topic, packed)
            if message.type in _BOOKS and "synthetic" in message.flags:
                track.rows.append(message)
                track.rows_at = state.seq
                track.target = max(track.target, state.seq)
            elif after < message.seq <= to:
                self.ready.append(message)

    def _begun(self, prefix: Prefix, state: StreamSnapshot) -> None:
        """Begin or resume a stream under the prefix with the state from a snapshot."""
        key = prefix.text if prefix.partial else state.stream
        track = self._tracks.get(key)
        if track is None:
            track = self._tracks[key] = StreamState(state.stream, key, partial=prefix.partial)
        if track.state is not StreamStage.WAITING:
            return
        if track.seen and track.last >= 0:
            self._resume(track, state.seq)
            return
        if track.last < 0 and not track.first and state.seq and state.offset > self._offset:
            track.found, self._found[track] = state, None
            return
        self._begin_with(track, state)

    def _begin_found(self, track: StreamState) -> None:
        state, track.found = track.found, None
        self._found.pop(track, None)
        if state is not None and track.state is StreamStage.WAITING:
            self._begin_with(track, state)

    def _begin_with(self, track: StreamState, state: StreamSnapshot) -> None:
        if track.last < 0:
            track.last = min(state.seq, track.first - 1) if track.first else state.seq
        track.stated = True
        track.target = max(track.target, state.seq)
        self._state(track, state, -1, track.last)
        self._apply(track, StreamEvent.BEGIN)
        self._advance(track)

    def _resume(self, track: StreamState, seq: int) -> None:
        """Continue a durable stream whose last sequence number in the new epoch is `seq`."""
        self._report_gap(track, max(seq, track.last), track.reached, "E_STORE")  # messages the daemon failed to store
        track.reached, track.target = 0, max(track.target, seq)
        if seq < track.last:
            self._renumber(track)
        elif track.last:
            self._apply(track, StreamEvent.RESUME)
        else:
            self._apply(track, StreamEvent.BEGIN)
            self._advance(track)

    def _renumber(self, track: StreamState) -> None:
        """Replay a stream from its first message, because the daemon lost sequence numbers and reused them.

        Messages of the epochs before are skipped: they were delivered before.
        """
        track.last, track.skip = 0, track.seen
        self._apply(track, StreamEvent.BEGIN)
        self._advance(track)

    def _gone(self, track: StreamState, to: int, reason: str) -> None:
        """Report the missing messages up to sequence number `to` as lost, and request the state that they changed."""
        self._report_gap(track, track.last, to, reason)
        track.gone, track.pages, track.rows = to, Pages(), []
        self._apply(track, StreamEvent.GONE)

    def _report_gap(self, track: StreamState, after: int, to: int, reason: str) -> None:
        """Deliver a `Gap` for the sequence numbers above `after` and up to `to`, if there are any."""
        if 0 <= after < to and not track.partial:
            self.ready.append(Gap(track.name, after + 1, to, reason, track.seen or self.epoch or 0))

    def _apply(self, about: Prefix | StreamState, event: StreamEvent) -> bool:
        moved = about.apply(event)
        if about.wants is not None:
            self._queue[about] = None
        return moved

    def _state_answered(self, track: StreamState, page: Mapping[str, Any] | None) -> None:
        for state in track.pages.add(page or {"streams": []}):
            if state.stream == track.name:
                self._state(track, state, track.last, track.gone)
        if track.pages.after is None:
            track.last = max(track.last, track.gone)
            self._advance(track)

    def _replay_answered(
        self, track: StreamState, args: Mapping[str, int], page: Mapping[str, Any] | None, error: Mapping[str, Any]
    ) -> None:
        if page is None:
            self._refused(track, args["from"], args["to"], error)
            return
        messages = [replayed(topic, body) for topic, body in page["messages"]]
        if track.state is StreamStage.RESUMING:
            if any(message.seq == track.last and message.epoch > track.seen for message in messages):
                self._renumber(track)
                return
            self._apply(track, StreamEvent.BEGIN)
        for message in messages:
            self._report_gap(track, track.last, message.seq - 1, "E_GAP_TOO_OLD")
            self._pass(track, message)
        reached = args["to"] if page.get("next") is None else page["next"] - 1
        if reached > track.last and track.state is StreamStage.FILLING:
            self._gone(track, reached, "E_GAP_TOO_OLD")
        else:
            self._advance(track)

    def _refused(self, track: StreamState, asked: int, to: int, error: Mapping[str, Any]) -> None:
        """Handle a refused replay. E_GAP_TOO_OLD names the first message still kept; other codes mean that none is."""
        code = str(error.get("code", "E_INTERNAL"))
        first = error.get("first") if code == "E_GAP_TOO_OLD" else None
        lost = min(first - 1, to) if first is not None and first > asked else to
        if lost > track.last:
            self._gone(track, lost, code)
        else:  # only the message that was delivered before the restart is missing
            self._apply(track, StreamEvent.BEGIN)
            self._advance(track)


def replayed(topic: bytes, packed: bytes) -> Message:
    """Return the decoded message with the flag `replayed` added."""
    message = parse(topic, packed)
    message.flags = (*message.flags, "replayed")
    return message
