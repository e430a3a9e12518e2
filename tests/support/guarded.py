"""A daemon whose clients have keys, with a simulator behind it, and peers that use a key of their own."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import secrets
import socket
import tempfile
import time
from typing import TYPE_CHECKING, Any

import msgpack
import yaml
import zmq

from ibbridge.security import key_files
from tests.integration.rig import PATIENCE, Bridge, Heard

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self


class KeyedClient:
    """Sockets of one client of a guarded daemon, with its key; without a key if `key` is none."""

    def __init__(self, bridge: GuardedBridge, key: tuple[bytes, bytes] | None) -> None:
        self._bridge, self._key = bridge, key
        self._ids = itertools.count(1)
        self.rep = self._socket(zmq.DEALER, bridge.rep)
        self.sub = self._socket(zmq.SUB, bridge.pub)

    def _socket(self, kind: int, endpoint: str) -> zmq.Socket[bytes]:
        made: zmq.Socket[bytes] = self._bridge.context.socket(kind)
        made.linger = 0
        if self._key is not None:
            made.curve_publickey, made.curve_secretkey = self._key
            made.curve_serverkey = self._bridge.server
        made.connect(endpoint)
        return made

    def send(self, cmd: str, args: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Send a command; its id is new, unless one is given."""
        command = {"id": next(self._ids), "cmd": cmd, "args": args or {}, **more}
        self.rep.send_multipart([b"", msgpack.packb(command)])

    def answer(self) -> dict[str, Any]:
        """Return the next reply."""
        assert self.rep.poll(int(PATIENCE * 1000)), "a reply did not come"
        reply: dict[str, Any] = msgpack.unpackb(self.rep.recv_multipart()[1], strict_map_key=False)
        return reply

    def call(self, cmd: str, args: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Send a command, and return the whole reply."""
        self.send(cmd, args, **more)
        return self.answer()

    def code(self, cmd: str, args: Mapping[str, Any] | None = None, **more: Any) -> str:
        """Send a command, and return the code of its refusal; empty if it was accepted."""
        reply = self.call(cmd, args, **more)
        return "" if reply["ok"] else str(reply["error"]["code"])

    def do(self, cmd: str, args: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Send a command that must be accepted, and return its result."""
        reply = self.call(cmd, args, **more)
        assert reply["ok"], reply
        result: dict[str, Any] = reply["result"]
        return result

    def hear(self) -> Heard:
        """Return the next message that is published for this client."""
        assert self.sub.poll(int(PATIENCE * 1000)), "a message did not come"
        topic, body = self.sub.recv_multipart()
        return Heard(topic.decode("latin-1"), msgpack.unpackb(body, strict_map_key=False))

    def until(self, wanted: Callable[[Heard], bool]) -> list[Heard]:
        """Return the messages up to one that is wanted."""
        heard = [self.hear()]
        while not wanted(heard[-1]):
            heard.append(self.hear())
        return heard

    def subscribe(self, prefix: str) -> Heard:
        """Subscribe, and return the welcome or the refusal."""
        self.sub.subscribe(prefix)
        return self.until(lambda each: each.type in ("welcome", "refused") and each.topic.rstrip("\0") == prefix)[-1]

    def is_refused(self, prefix: str) -> bool:
        """Subscribe, and return True if that is refused."""
        return self.subscribe(prefix).type == "refused"

    def close(self) -> None:
        """Disconnect."""
        self.rep.close()
        self.sub.close()


class GuardedBridge(Bridge):
    """A daemon on loopback tcp with CURVE, whose configuration file can be changed. `clients` are entries by name."""

    def __init__(self, tws_port: int, clients: Mapping[str, Mapping[str, Any]], **security: Any) -> None:
        self.place = pathlib.Path(tempfile.mkdtemp(prefix="ibkeys"))
        self.keys = {name: zmq.curve_keypair() for name in (*clients, "server", "stranger")}
        self.server = self.keys["server"][0]
        self._config = self.place / "ibbridge.yaml"
        self._security = security
        public, secret = (key.decode() for key in self.keys["server"])
        key_files.write(self.place, key_files.SERVER, public, secret, {})
        self.configure(clients)
        self.admin_pub, self.admin_rep = (f"ipc://{self.place}/{name}" for name in ("pub", "rep"))
        self.tcp_pub, self.tcp_rep = (f"tcp://127.0.0.1:{_free_port()}" for _ in range(2))
        lists = {
            "security__trust_loopback": "false",
            "bus__pub": f"[{self.admin_pub}, {self.tcp_pub}]",
            "bus__rep": f"[{self.admin_rep}, {self.tcp_rep}]",
        }
        super().__init__(tws_port, pub=self.tcp_pub, rep=self.tcp_rep, config=str(self._config), **lists)
        self._clients = contextlib.ExitStack()

    def __exit__(self, *given: object) -> None:
        self._clients.close()
        super().__exit__(*given)

    def __enter__(self) -> Self:
        return self

    def configure(self, clients: Mapping[str, Mapping[str, Any]], **more: Any) -> None:
        """Write the configuration. The daemon reads it at the start, or when it is told to."""
        entries = [{"name": name, "key": self.key(name), **terms} for name, terms in clients.items()]
        about = {"security": {"keys": str(self.place), "clients": entries, **self._security, **more}}
        self._config.write_text(yaml.safe_dump(about))

    def key(self, name: str) -> str:
        """Return the public key of a client."""
        return self.keys.setdefault(name, zmq.curve_keypair())[0].decode()

    def client(self, name: str) -> KeyedClient:
        """Return the sockets of a client with its key; with no key if the name is empty."""
        key = self.keys[name] if name else None
        return self._clients.enter_context(contextlib.closing(KeyedClient(self, key)))

    def admin(self) -> KeyedClient:
        """Return the sockets of a peer over ipc, which has all rights."""
        pub, rep = self.pub, self.rep
        self.pub, self.rep = self.admin_pub, self.admin_rep
        try:
            return self._clients.enter_context(contextlib.closing(KeyedClient(self, None)))
        finally:
            self.pub, self.rep = pub, rep

    def audited(self, wanted: str) -> str:
        """Return the audit as text, once it has `wanted`."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            text = b"".join(file.read_bytes() for file in sorted(self.store.glob("audit/*"))).decode("latin-1")
            if wanted in text:
                return text
        raise AssertionError(f"the audit has no {wanted}")


def _free_port() -> int:
    while True:
        port = secrets.randbelow(20_000) + 20_000
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port
