"""ZeroMQ as the bus uses it: a command socket that keeps the contract of REP, and a send that never waits.

The package knows pyzmq, libzmq and the frames that routing needs.
The package must not know topics, commands, or the contents of a frame.
"""
