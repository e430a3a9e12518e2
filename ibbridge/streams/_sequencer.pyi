from ibbridge.streams.sequencer import Channel, Press, Stream, sealed

__all__ = ["PRESS", "Channel", "Press", "Stream", "sealed"]

PRESS: int
