"""A gateway that plays recordings: what TWS said then, to a client that asks the same now."""

from __future__ import annotations

from ibbridge.playback.score import Score
from ibbridge.playback.server import Playback

__all__ = ["Playback", "Score"]
