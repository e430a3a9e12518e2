"""Notifications to systemd: READY=1, STOPPING=1, STATUS=... (sd_notify(3)).

A notification is one datagram to the unix socket that NOTIFY_SOCKET names. Without NOTIFY_SOCKET nothing is sent.
"""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)


def notify(*assignments: str) -> bool:
    """Send `assignments`, each `NAME=value`, to the service manager. Return True if there is one and it was notified.

    The function does not raise and does not wait: systemd itself acts on a missing notification (without READY=1 in
    time the start has failed).
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
