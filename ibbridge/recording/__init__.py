"""Recordings of the connection to TWS: the file format, the writer, the recording proxy and the player.

A recording has the bytes of both directions, and the time of each read and write.
The package must not know the meaning of a message; only the player decodes messages.
"""
