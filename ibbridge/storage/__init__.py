"""Storage that outlives the process: durable messages, stream numbers and order keys in SQLite.

The package knows the layout of the file, its upgrades and its checksums, and waits for the disk.
The package must not know what a message means.
"""
