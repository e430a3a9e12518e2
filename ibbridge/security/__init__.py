"""Access to the bus, and bounds on what its peers may use of the process: connections, memory, descriptors.

The package decides which peer connects, which peer is cut off, and how many descriptors are kept back.
It must not know topics, commands, or messages of TWS.
"""
