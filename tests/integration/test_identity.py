"""Admission to real daemons, and the name and role that follow: keys, users, endpoints of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
import zmq

from ibbridge.client import AuthError, Client, CommandError, Feed, aio, connect
from ibbridge.client.endpoints import Endpoint
from ibbridge.client.keys import Keys, loaded
from ibbridge.security import key_files
from tests.integration.rig import PATIENCE, Bridge, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


class Daemon:
    """A daemon with keys for its clients alpha (trader) and beta (observer), on ipc and tcp."""

    def __init__(self, directory: pathlib.Path, stack: contextlib.ExitStack, **settings: Any) -> None:
        self.keys = directory / "keys"
        keygen("--server", "--dir", str(self.keys))
        for name, role in (("alpha", "trader"), ("beta", "observer"), ("stranger", "admin")):
            keygen(name, "--role", role, "--dir", str(self.keys))
        (self.keys / "stranger.key").rename(directory / "stranger.key")
        self.pub, self.rep = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        self.directory = directory
        given = {"security__keys": self.keys, "security__clients": self.keys, "security__trust_loopback": "false"}
        self.bridge = stack.enter_context(
            Bridge(
                free_port(),
                bus__pub=f"[ipc://{directory}/pub, '{self.pub}']",
                bus__rep=f"[ipc://{directory}/rep, '{self.rep}']",
                **{**given, **settings},
            )
        )
        self.bridge.rep = f"ipc://{directory}/rep"
        self.bridge.do("ping")

    def secret(self, name: str) -> pathlib.Path:
        return self.keys / f"{name}.key_secret"

    @property
    def server_key(self) -> pathlib.Path:
        return self.keys / "server.key"

    def call(self, name: str, command: dict[str, Any], **changes: Any) -> dict[str, Any]:
        """The reply to a command of a third program, which knows ZeroMQ and nothing else."""
        own, server = key_files.read(self.secret(name)), key_files.read(self.server_key)
        with zmq.Context() as context, context.socket(zmq.REQ) as req:
            req.linger = 0
            req.curve_serverkey = changes.get("server", server.public).encode()
            req.curve_publickey, req.curve_secretkey = own.public.encode(), own.secret.encode()
            req.connect(self.rep)
            req.send(msgpack.packb({"id": 1, "cmd": "ping", "client": name, **command}))
            assert req.poll(int(PATIENCE * 1000))
            reply: dict[str, Any] = msgpack.unpackb(req.recv())
            return reply


def keygen(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ibbridge", "keygen", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with contextlib.ExitStack() as stack:
        yield Daemon(tmp_path_factory.mktemp("i"), stack)


ORDER = {
    "cmd": "placeOrder",
    "id": 2,
    "key": "k",
    "args": {"contract": {"conId": 1, "exchange": "SMART"}, "order": {"action": "BUY", "totalQuantity": 1}},
}


# -- keys


def test_a_third_program_with_a_key_is_the_client_of_that_key(daemon: Daemon) -> None:
    assert daemon.call("alpha", {})["ok"]
    assert daemon.call("alpha", ORDER)["error"]["code"] == "E_NOT_CONNECTED"  # allowed; there is no TWS


def test_the_key_of_an_observer_places_no_order(daemon: Daemon) -> None:
    error = daemon.call("beta", ORDER)["error"]
    assert error["code"] == "E_PERM"
    assert "observer" in error["message"]


def test_a_client_with_a_key_is_admitted_and_named(daemon: Daemon) -> None:
    with connect(
        "alpha", daemon.pub, daemon.rep, key=daemon.secret("alpha"), server_key=daemon.server_key, tws=False
    ) as ib:
        assert ib.call("ping")


def test_the_certificate_names_the_servers_key_and_the_environment_the_certificate(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IBBRIDGE_KEY", str(daemon.secret("alpha")))
    monkeypatch.setenv("IBBRIDGE_PUB", daemon.pub)
    monkeypatch.setenv("IBBRIDGE_REP", daemon.rep)
    with connect("alpha", tws=False) as ib:
        assert ib.call("ping")


def refusals(daemon: Daemon) -> dict[str, tuple[dict[str, Any], str]]:
    """Wrong things that a client can give, each with what it is told."""
    beta = key_files.read(daemon.secret("beta")).public
    return {
        "no key": ({}, "demands a key|has ended 3 connections"),
        "the key of nobody": ({"key": daemon.secret("stranger")}, "does not admit the key"),
        "another server key": (
            {"key": daemon.secret("alpha"), "server_key": beta},
            "has ended 3 connections in a row before they were made. Is .* its public key",
        ),
    }


@pytest.mark.parametrize("case", ["no key", "the key of nobody", "another server key"])
def test_who_is_not_admitted_gets_an_exception_and_no_timeout(daemon: Daemon, case: str) -> None:
    given, said = refusals(daemon)[case]
    with pytest.raises(AuthError, match=said):
        connect("alpha", daemon.pub, daemon.rep, tws=False, timeout=PATIENCE, **given)


@pytest.mark.parametrize("case", ["no key", "the key of nobody", "another server key"])
def test_who_is_not_admitted_gets_an_exception_and_no_timeout_in_an_event_loop(daemon: Daemon, case: str) -> None:
    given, said = refusals(daemon)[case]

    async def run() -> None:
        await aio.connect("alpha", daemon.pub, daemon.rep, tws=False, timeout=PATIENCE, **given)

    with pytest.raises(AuthError, match=said):
        asyncio.run(run())


def endpoints(daemon: Daemon, case: str) -> tuple[Endpoint, Endpoint]:
    given, _ = refusals(daemon)[case]
    own: Keys | None = loaded(**given)
    return Endpoint(daemon.pub, own), Endpoint(daemon.rep, own)


@pytest.mark.parametrize("case", ["no key", "the key of nobody", "another server key"])
def test_each_socket_alone_says_that_it_is_refused(daemon: Daemon, case: str) -> None:
    pub, rep = endpoints(daemon, case)
    good = f"ipc://{daemon.directory}"
    with zmq.Context() as context:
        feed = Feed(context, pub, f"{good}/rep")
        with contextlib.closing(feed), pytest.raises(AuthError):
            feed.receive(PATIENCE)
    with Client("x", f"{good}/pub", rep) as ib, pytest.raises(AuthError) as refused:
        ib.call("ping")
    assert refused.value.outcome == "not_sent"


def test_a_feed_goes_on_saying_that_it_is_refused(daemon: Daemon) -> None:
    for case in ("no key", "the key of nobody"):
        pub, _ = endpoints(daemon, case)
        with zmq.Context() as context, contextlib.closing(Feed(context, pub, f"ipc://{daemon.directory}/rep")) as feed:
            for _ in range(3):  # of which the last two are the same refusal: the socket is not connected again so soon
                with pytest.raises(AuthError):
                    feed.receive(PATIENCE)


def test_a_feed_is_connected_again_once_its_key_is_known(tmp_path: pathlib.Path) -> None:
    with contextlib.ExitStack() as stack:
        daemon = Daemon(tmp_path, stack)
        pub, _ = endpoints(daemon, "the key of nobody")
        with zmq.Context() as context, contextlib.closing(Feed(context, pub, daemon.bridge.rep)) as feed:
            with pytest.raises(AuthError):
                feed.receive(PATIENCE)
            daemon.bridge.stop(signal.SIGTERM)
            (tmp_path / "stranger.key").rename(daemon.keys / "stranger.key")
            daemon.bridge.start()
            feed.subscribe(["sys."])
            while True:
                with contextlib.suppress(AuthError):
                    if feed.begun(["sys."], PATIENCE):
                        break


def test_a_key_where_none_is_taken_is_an_exception(tmp_path: pathlib.Path) -> None:
    with contextlib.ExitStack() as stack:
        daemon = Daemon(tmp_path, stack)
        pub, rep = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        with Bridge(free_port(), pub=pub, rep=rep) as plain:
            plain.do("ping")
            with pytest.raises(AuthError, match=r"takes no keys there|has ended 3 connections"):
                connect("alpha", pub, rep, key=daemon.secret("alpha"), tws=False, timeout=PATIENCE)


def test_refusals_are_counted_and_said_once_in_the_log(daemon: Daemon) -> None:
    before = daemon.bridge.do("status")["counts"]["refusedCredentials"]
    with pytest.raises(AuthError):
        connect("alpha", daemon.pub, daemon.rep, tws=False, key=daemon.secret("stranger"))
    assert daemon.bridge.do("status")["counts"]["refusedCredentials"] > before
    public = key_files.read(daemon.secret("stranger")).public
    said = daemon.bridge.says(f"no client in security.clients has the key {public}")
    assert said.count(public) == 1
    for name in ("server", "alpha"):
        assert key_files.read(daemon.secret(name)).secret not in daemon.bridge.said()


def test_the_command_line_connects_with_a_key(daemon: Daemon) -> None:
    places = ["--pub", daemon.pub, "--rep", daemon.rep]
    command = [sys.executable, "-m", "ibbridge", "call", "ping", *places]
    done = subprocess.run(
        [*command, "--key-file", daemon.secret("alpha")], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "ok pong=true role=trader client=alpha\n"
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 1
    assert "demands a key" in done.stderr or "has ended" in done.stderr


# -- users


def test_over_ipc_the_user_is_the_client(tmp_path: pathlib.Path) -> None:
    clients = f"[{{name: me, role: observer, uid: {os.getuid()}}}]"
    with contextlib.ExitStack() as stack:
        daemon = Daemon(tmp_path, stack, security__clients=clients)
        with Client("me", f"ipc://{tmp_path}/pub", daemon.bridge.rep) as ib:
            with pytest.raises(CommandError, match="observer") as refused:
                ib.call("halt")
            assert refused.value.code == "E_PERM"


def test_users_who_are_no_clients_may_be_refused(tmp_path: pathlib.Path) -> None:
    clients = f"[{{name: other, role: observer, uid: {os.getuid() + 1}}}]"
    given = {"security.clients": clients, "security.ipc_role": "none"}
    places = {name: f"ipc://{tmp_path}/{name}" for name in ("pub", "rep")}
    sets = [part for name, value in given.items() for part in ("--set", f"{name}={value}")]
    sets += [part for name, value in places.items() for part in ("--set", f"bus.{name}={value}")]
    command = [sys.executable, "-m", "ibbridge", "run", "--set", f"store.path={tmp_path}/store", *sets]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        with pytest.raises(AuthError, match=f"does not admit the user {os.getuid()}"):
            connect("x", places["pub"], places["rep"], tws=False, timeout=PATIENCE)
    finally:
        process.terminate()
        process.wait(PATIENCE)


# -- loopback


def test_without_trust_a_program_on_loopback_reads_and_does_not_trade(tmp_path: pathlib.Path) -> None:
    with contextlib.ExitStack() as stack:
        daemon = Daemon(tmp_path, stack, security__clients="[]")
        with Client("x", daemon.pub, daemon.rep) as ib:
            assert ib.call("ping")
            for command in ("halt", "resume", "reqGlobalCancel"):
                with pytest.raises(CommandError, match=r"is not allowed to the role data; connect to ipc:"):
                    ib.call(command)
        with Client("x", f"ipc://{tmp_path}/pub", f"ipc://{tmp_path}/rep") as ib:
            ib.call("halt")


# -- files


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_daemon_whose_secret_others_can_read_does_not_start(tmp_path: pathlib.Path, mode: int) -> None:
    keygen("--server", "--dir", str(tmp_path))
    keygen("alpha", "--dir", str(tmp_path))
    secret = tmp_path / "server.key_secret"
    secret.chmod(mode)
    sets = [f"security.keys={tmp_path}", f"security.clients={tmp_path}", f"store.path={tmp_path}/store"]
    command = [sys.executable, "-m", "ibbridge", "run", *(part for each in sets for part in ("--set", each))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 2
    assert f"chmod 600 {secret}" in done.stderr


def test_a_client_refuses_its_own_secret_if_others_can_read_it(tmp_path: pathlib.Path) -> None:
    keygen("alpha", "--dir", str(tmp_path))
    secret = tmp_path / "alpha.key_secret"
    secret.chmod(0o644)
    with pytest.raises(AuthError, match=f"mode 0644 lets others read or change it: chmod 600 {secret}"):
        connect("alpha", key=secret, server_key="x" * 40)


def test_keys_are_never_overwritten_and_only_their_user_reads_them(tmp_path: pathlib.Path) -> None:
    said = keygen("alpha", "--role", "trader", "--dir", str(tmp_path))
    assert "security.clients" in said
    files = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
    assert files == {"alpha.key": "0o600", "alpha.key_secret": "0o600"}
    before = key_files.read(tmp_path / "alpha.key_secret")
    done = subprocess.run(
        [sys.executable, "-m", "ibbridge", "keygen", "alpha", "--dir", tmp_path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "exists already, and is not overwritten" in done.stderr
    assert key_files.read(tmp_path / "alpha.key_secret") == before
    assert before.secret not in said


def test_pyzmq_reads_our_certificates(tmp_path: pathlib.Path) -> None:
    import zmq.auth

    keygen("alpha", "--dir", str(tmp_path))
    ours = key_files.read(tmp_path / "alpha.key_secret")
    public, secret = zmq.auth.load_certificate(tmp_path / "alpha.key_secret")
    assert secret is not None
    assert (public.decode(), secret.decode()) == (ours.public, ours.secret)


def test_we_read_certificates_of_pyzmq(tmp_path: pathlib.Path) -> None:
    import zmq.auth

    public, secret = zmq.auth.create_certificates(tmp_path, "alpha", {"role": "trader"})
    pathlib.Path(secret).chmod(0o600)
    assert key_files.read(pathlib.Path(secret)).metadata == {"role": "trader"}
    assert key_files.read(pathlib.Path(public)).public == key_files.read(pathlib.Path(secret)).public
