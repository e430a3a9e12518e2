from ibbridge.streams.sequencer import Channel, Sequencer, Stream, sealed

__all__ = ["SEQUENCER", "Channel", "Sequencer", "Stream", "sealed"]

SEQUENCER: int
