"""Subscriber that receives everything, or with `--slow` next to nothing, and checks nothing.

Started and ended by benchmarks that measure something else.
"""

from __future__ import annotations

import argparse
import time

import zmq
from processes import say


def main() -> None:
    """Subscribe to what the command line names, and receive for ever."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("endpoint")
    parser.add_argument("prefixes", nargs="+")
    parser.add_argument("--slow", action="store_true", help="next to no room, and a hundred messages a second")
    given = parser.parse_args()
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.set(zmq.RCVHWM, 10 if given.slow else 0)
        socket.connect(given.endpoint)
        for prefix in given.prefixes:
            socket.subscribe(prefix.encode())
            socket.recv_multipart()
        say(subscribed=True)
        while True:
            socket.recv_multipart()
            if given.slow:
                time.sleep(0.01)


if __name__ == "__main__":
    main()
