"""Access to the bus, and bounds on what its peers may use of the process: connections, memory, descriptors.

The package decides which peer connects, which peer is disconnected, and how many file descriptors are reserved.
The package must not know topics, commands, or messages of TWS.
"""
