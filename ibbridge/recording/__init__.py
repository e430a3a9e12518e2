"""Recordings of the connection to TWS: the file format, the writer, the recording proxy and the player.

The package keeps the bytes of both directions, and the time of each read.
It must not know what a message means; only the player reads messages.
"""
