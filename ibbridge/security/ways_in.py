"""Ways in for programs that want to place orders: the endpoints where they may, or those that the operator must add.

Pure, but for the environment that names the runtime directory. The module must not know sockets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ibbridge.security import runtime_directory
from ibbridge.security.identity import NO_ROLE
from ibbridge.security.runtime_directory import RUNTIME_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ibbridge.security.access import AccessRules

WITHOUT_ORDERS = (NO_ROLE, "observer", "data")
"""Roles that may place no order."""


def way(pub: Sequence[str], rep: Sequence[str]) -> str:
    """Return advice to a peer of a loopback endpoint: where it may do more, or the endpoints that are missing."""
    if local := [endpoint for endpoint in rep if endpoint.startswith("ipc:")]:
        return f"connect to {' or '.join(local).replace(RUNTIME_DIRECTORY, str(runtime_directory.path()))}"
    pubs, reps = (
        ", ".join((f"ipc://{RUNTIME_DIRECTORY}/pub", *pub)),
        ", ".join((f"ipc://{RUNTIME_DIRECTORY}/rep", *rep)),
    )
    return f"have the configuration say bus: {{pub: [{pubs}], rep: [{reps}]}}, and connect over ipc"


def missing(pub: Sequence[str], rep: Sequence[str], rules: AccessRules) -> str:
    """Return what to do if nobody can place an order with these endpoints and rules; empty if somebody can."""
    if rules.has_keys or rules.loopback_role not in WITHOUT_ORDERS or any(each.startswith("ipc:") for each in rep):
        return ""
    return (
        f"nobody can place orders: programs on loopback tcp have the role {rules.loopback_role}; {way(pub, rep)}, or "
        "make keys (`ibbridge keygen`), or say security.trust_loopback: true, which lets every program of this machine "
        "do everything"
    )
