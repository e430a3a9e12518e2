"""The health of the daemon: alarms, the log, signals, and the memory and descriptors of the process.

The package decides when an operator must be told of a problem, and reports to the log and to systemd.
The package must not know what a message means, or act on a problem.
"""
