"""A TWS that plays recordings: what TWS said then, to a client that asks the same now.

The package matches requests of today with recorded ones, and gives their responses the ids of today.
It must not know the daemon, the bus, or how a recording is written.
"""

from __future__ import annotations

from ibbridge.recording.player.script import Score
from ibbridge.recording.player.server import Playback

__all__ = ["Playback", "Score"]
