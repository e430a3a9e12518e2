"""A subscriber that takes everything and looks at nothing. Made and ended by whoever measures something else."""

from __future__ import annotations

import sys

import zmq
from child import say


def main() -> None:
    """Subscribe to what the command line names, and receive for ever."""
    endpoint, *prefixes = sys.argv[1:]
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set(zmq.RCVHWM, 0)
        socket.connect(endpoint)
        for prefix in prefixes:
            socket.subscribe(prefix.encode())
            socket.recv_multipart()
        say(subscribed=True)
        while True:
            socket.recv()


if __name__ == "__main__":
    main()
