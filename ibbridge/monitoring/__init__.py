"""The health of the daemon: alarms, the log, signals, and the memory and descriptors of the process.

The package decides when an operator must be told of something, and passes it on to the log and to systemd.
It must not know what a message means, or act on what it finds.
"""
