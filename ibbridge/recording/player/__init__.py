"""Player of recordings: plays the recorded messages of TWS to a client that sends the recorded requests again.

The package matches the client's requests with recorded ones, and replaces recorded ids by the client's ids.
It must not know the daemon, the bus, or how a recording is written.
"""

from __future__ import annotations

from ibbridge.recording.player.script import Script
from ibbridge.recording.player.server import Playback, Player

__all__ = ["Playback", "Player", "Script"]
