"""Secrets that are planted wherever one may lie or be sent: none of them is in the log, whatever goes wrong."""

from __future__ import annotations

import pathlib
import signal
import sys

import msgpack
import pytest
import yaml
import zmq
import zmq.auth

from tests.integration.rig import AAPL, Bridge, Host

pytestmark = pytest.mark.attack

ACCOUNT = "DU7654321"
PASSWORD = "correct-horse-battery-staple"
ORDER = {"action": "BUY", "totalQuantity": 1, "orderType": "MKT"}

BUGGED = """
import sys
from ibbridge import cli
from ibbridge.commands.builtin import BuiltinCommands
execute = BuiltinCommands.execute
def broken(self, name, *given, **named):
    if name in ("status", "snapshot"):
        raise KeyError(f"{given} {named}")
    return execute(self, name, *given, **named)
BuiltinCommands.execute = broken
sys.exit(cli.main(sys.argv[4:]))  # behind `python -m ibbridge`
"""
"""A daemon with a bug in two of its own commands, whose exception quotes all that it was given."""


def keys(directory: pathlib.Path) -> list[str]:
    """Make the keys of a server and a client in a directory; return the secret ones."""
    directory.mkdir(mode=0o700)
    made = []
    for name in ("server", "strategy"):
        _, secret = zmq.auth.create_certificates(directory, name)
        pathlib.Path(secret).chmod(0o600)
        made.append(zmq.auth.load_certificate(secret)[1].decode())  # type: ignore[union-attr]
    return made


def settings(directory: pathlib.Path, **more: object) -> str:
    public = zmq.auth.load_certificate(directory / "strategy.key")[0].decode()
    clients = [{"name": "strategy", "role": "trader", "key": public}]
    security = {"keys": str(directory), "clients": clients}
    return yaml.safe_dump({"security": security, **more})


def test_no_secret_is_in_the_log_whatever_goes_wrong(tmp_path):
    directory = tmp_path / "keys"
    planted = [*keys(directory), PASSWORD, ACCOUNT]
    file = tmp_path / "ibbridge.yaml"
    file.write_text(settings(directory))
    file.chmod(0o600)
    within = [sys.executable, "-c", BUGGED]
    with Host() as host, Bridge(host.port, config=str(file), within=within, log__level="debug") as bridge:
        with host.accept() as guest:
            guest.start(accounts=ACCOUNT)
            bridge.ready()
            # A command that meets a bug, with secrets as names, values and keys.
            commands = (
                {"cmd": "status", "args": {"password": PASSWORD, "account": ACCOUNT, PASSWORD: planted[0]}},
                {"cmd": "snapshot", "args": {"stream": f"acct.{ACCOUNT}.", "secret-key": planted[1]}},
            )
            for number, command in enumerate(commands):
                bridge.ask(msgpack.packb({"id": number, "client": "other", **command}))
            # Orders that TWS refuses with a text that quotes the account.
            bridge.do("placeOrder", key="k", contract=AAPL, order={**ORDER, "account": ACCOUNT})
            number = guest.request("placeOrder")["orderId"]
            guest.say("error", reqId=number, errorTime=0, errorCode=201, errorString=f"rejected: {ACCOUNT} has no cash")
            guest.say("error", reqId=-1, errorTime=0, errorCode=2100, errorString=f"{ACCOUNT}: password={PASSWORD}")
            # A configuration with a fault in each line.
            file.write_text(settings(directory, bus={"password": PASSWORD}, tws={"port": f"password={PASSWORD}"}))
            bridge.process.send_signal(signal.SIGHUP)
            bridge.says("has a fault, nothing was changed")
            assert bridge.stop(signal.SIGTERM) == 0
        said = bridge.said()
    assert "E_INTERNAL" in said
    assert "DU...321" in said, "that is what is left of an account"
    assert [secret for secret in planted if secret in said] == []
