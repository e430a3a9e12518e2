"""The name by which a daemon knows the user of the command line: that of the key or the uid, or else any.

A connection with a name may not use another, so a subcommand must use the name that its key or its user has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import zmq

from ibbridge.client.commands import Command, Names
from ibbridge.client.errors import CommandError, NoAnswer
from ibbridge.client.threaded_commands import ThreadedCommands

if TYPE_CHECKING:
    from ibbridge.client.endpoints import Endpoint


def known_as(rep: Endpoint, default: str, timeout: float) -> str:
    """Return the name that the daemon at `rep` gives to this user; `default` if it gives none.

    Raise AuthError if the daemon does not admit this user, and NoAnswer if there is no reply in `timeout` seconds.
    """
    context = zmq.Context()
    commands = ThreadedCommands(context, rep)
    try:
        name = commands.call(Command("", Names().new(), "ping", {}), timeout).result.get("client")
    except CommandError:  # the command itself is to say so
        name = None
    except NoAnswer as silence:  # the user has asked for no ping
        raise NoAnswer(str(silence).removeprefix("ping: "), silence.outcome) from None
    finally:
        commands.close()
        commands.wait_closed()
        context.term()
    return name if isinstance(name, str) and name else default
