"""What systemd is told: READY=1, STOPPING=1, STATUS=... (sd_notify(3)).

One datagram on a unix socket; nothing where nobody started us to be told. The only module that reads the environment,
for that is where systemd puts the address.
"""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)


def notify(*assignments: str) -> bool:
    """Tell the service manager `assignments`, each `NAME=value`; whether there was one and it was told.

    Does not raise and does not wait: systemd itself acts on what it does not hear (no READY=1 in time: a failed start).
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    # A line break would begin another assignment: a status with one must not be able to say MAINPID=.
    text = "\n".join(" ".join(assignment.splitlines()) for assignment in assignments)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            # "@" stands for the NUL that an abstract socket's name begins with.
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.send(text.encode("utf-8", "replace"), socket.MSG_DONTWAIT)
    except OSError as error:
        log.warning("systemd was not told %r at %s: %s", text, address, error)
        return False
    return True
