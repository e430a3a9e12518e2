"""Web pages, and everybody else who does not speak ZMTP 3: not a byte of theirs is taken for a frame."""

from __future__ import annotations

import base64
import contextlib
import functools
import http.server
import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from tests.attacks import zmtp
from tests.attacks.bystanders import Bystanders
from tests.integration.rig import AAPL, Bridge, Market, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.attack

ORDER = {"action": "BUY", "orderType": "MKT", "totalQuantity": 1000}
numbers = itertools.count(1)


def purchase() -> bytes:
    """A command that buys, with a key of its own."""
    number = next(numbers)
    args = {"contract": AAPL, "order": ORDER}
    command = {"id": number, "cmd": "placeOrder", "args": args, "client": "page", "key": f"k{number}"}
    return bytes(msgpack.packb(command))


def trap(padding: int) -> bytes:
    """A body in which the frames of ZMTP 1.0 fall into step, wherever the headers end, and that buys then.

    A run of the byte 2 is frames of two bytes, each a message of its own. Three paddings are all there are.
    """
    return b"\x02" * (300 + padding) + zmtp.old_frame(b"", zmtp.MORE) + zmtp.old_frame(purchase())


@pytest.fixture(scope="module")
def bridge() -> Iterator[Bridge]:
    places = {name: f"tcp://127.0.0.1:{free_port()}" for name in ("pub", "rep")}
    with Market() as market, Bridge(market.port, **places) as bridge:
        bridge.ready()
        yield bridge


def orders(bridge: Bridge) -> int:
    """Return the number of orders that the daemon has placed, after all commands sent before."""
    placed: int = bridge.do("status")["orders"]
    return placed


def http_requests() -> Iterator[bytes]:
    for method, padding, length in itertools.product(("GET", "POST", "OPTIONS"), range(3), range(0, 256, 3)):
        body = trap(padding)
        yield (
            f"{method} /{'a' * (length + padding)} HTTP/1.1\r\nHost: 127.0.0.1:5556\r\nOrigin: http://evil.example\r\n"
            f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body


def form() -> Iterator[bytes]:
    """Form posts with a part whose bytes are free."""
    for padding, length in itertools.product(range(3), range(256)):
        body = b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n" + trap(padding) + b"\r\n--x--\r\n"
        yield (
            f"POST / HTTP/1.1\r\nX: {'b' * length}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body


@pytest.mark.parametrize("port", ["pub", "rep"])
@pytest.mark.parametrize("requests", [http_requests, form])
def test_http_of_all_alignments_is_cut_off_unheard(bridge: Bridge, port: str, requests: Any) -> None:
    with Bystanders(bridge):
        for request in requests():
            with zmtp.connect(getattr(bridge, port)) as page:
                with contextlib.suppress(OSError):  # it was cut off meanwhile
                    page.sendall(request)
                    page.shutdown(socket.SHUT_WR)
                assert len(zmtp.rest(page)) <= len(zmtp.SIGNATURE), "it was told something"
    assert orders(bridge) == 0
    assert bridge.do("status")["counts"]["strayFrames"] == 0


OLD = {
    "1.0": zmtp.old_frame(b"") + zmtp.old_frame(b"", zmtp.MORE),
    "1.0 with an identity": zmtp.old_frame(b"me") + zmtp.old_frame(b"", zmtp.MORE),
    "1.0 with a revision": zmtp.SIGNATURE + b"\0\3" + zmtp.old_frame(b"") + zmtp.old_frame(b"", zmtp.MORE),
    "2.0": zmtp.SIGNATURE + b"\1\3" + zmtp.frame(b"") + zmtp.frame(b"", zmtp.MORE),
}


@pytest.mark.parametrize("version", OLD)
def test_an_order_behind_an_old_greeting_is_cut_off_unheard(bridge: Bridge, version: str) -> None:
    frame = zmtp.frame if version == "2.0" else zmtp.old_frame
    with zmtp.connect(bridge.rep) as peer:
        with contextlib.suppress(OSError):
            peer.sendall(OLD[version] + frame(purchase()))
            peer.shutdown(socket.SHUT_WR)
        zmtp.rest(peer)
    assert orders(bridge) == 0


@pytest.mark.parametrize("version", OLD)
def test_a_subscription_behind_an_old_greeting_is_cut_off_and_told_nothing(bridge: Bridge, version: str) -> None:
    frame = zmtp.frame if version == "2.0" else zmtp.old_frame
    with zmtp.connect(bridge.pub) as peer:
        peer.sendall(OLD[version] + frame(b"\1"))
        bridge.sub("sys.bridge.").until("heartbeat")
        with contextlib.suppress(OSError):
            peer.shutdown(socket.SHUT_WR)
        assert b"heartbeat" not in zmtp.rest(peer)


@pytest.mark.parametrize("minor", [0, 1, 2])
def test_a_peer_that_speaks_zmtp_3_is_heard(bridge: Bridge, minor: int) -> None:
    ping = msgpack.packb({"id": next(numbers), "cmd": "ping", "client": "me"})
    with zmtp.handshake(bridge.rep, b"REQ", minor) as peer:
        peer.sendall(zmtp.frame(b"", zmtp.MORE) + zmtp.frame(ping))
        delimiter, reply = zmtp.message(peer)
    assert delimiter == b""
    assert msgpack.unpackb(reply)["result"]["pong"] is True
    with zmtp.handshake(bridge.pub, b"SUB", minor) as peer:
        peer.sendall(zmtp.frame(b"\1sys."))
        assert zmtp.message(peer)[0] == b"sys."


# A real browser


PAGE = """<!doctype html><meta charset=utf-8><title>waiting</title><script>
const targets = TARGETS, traps = TRAPS.map(text => Uint8Array.from(atob(text), c => c.charCodeAt(0)));
const later = milliseconds => new Promise(done => setTimeout(done, milliseconds));
async function attack() {
  const said = [];
  for (const to of targets) for (const trap of traps) {
    try { await fetch(to, {method: "POST", mode: "no-cors", body: trap, signal: AbortSignal.timeout(2000)});
          said.push("answered"); } catch (error) { said.push(error.name); }
    const form = document.createElement("form"), frame = document.createElement("iframe");
    frame.name = "f" + said.length; document.body.append(frame, form);
    Object.assign(form, {action: to, method: "POST", enctype: "multipart/form-data", target: frame.name});
    const file = document.createElement("input"), files = new DataTransfer();
    files.items.add(new File([trap], "a")); Object.assign(file, {type: "file", name: "a", files: files.files});
    form.append(file); form.submit();
    const socket = new WebSocket(to.replace("http", "ws"));
    socket.onopen = () => said.push("open");
    await later(150);
  }
  await later(500);
  await fetch("/done", {method: "POST", body: JSON.stringify(said)});
}
addEventListener("load", attack);
</script><body></body>"""


class Site(http.server.BaseHTTPRequestHandler):
    """Serves the page, and hears when it has done its worst."""

    def __init__(self, page: bytes, done: list[Any], over: threading.Event, *args: Any) -> None:
        self.page, self.done, self.over = page, done, over
        super().__init__(*args)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.page)

    def do_POST(self) -> None:
        self.done.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()
        self.over.set()

    def log_message(self, *_: Any) -> None:
        pass


def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("there is no Chromium here; on Debian: apt-get install chromium")


FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --host-resolver-rules=MAP~evil.example~127.0.0.1"
)


def visit(page: str, host: str) -> list[str]:
    """Open the page in a browser, served under this name; what the page says when it is through."""
    browser = chromium()
    done: list[Any] = []
    over = threading.Event()
    handler = functools.partial(Site, page.encode(), done, over)
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site,
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
    ):
        threading.Thread(target=site.serve_forever, daemon=True).start()
        flags = [flag.replace("~", " ") for flag in FLAGS.split()]
        command = [browser, *flags, f"--user-data-dir={profile}", f"http://{host}:{site.server_port}/"]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": profile}
        )
        try:
            assert over.wait(90), "the page did not come to its end"
        finally:
            process.terminate()
            process.wait(30)
            site.shutdown()
    said: list[str] = done[0]
    return said


@pytest.mark.parametrize("host", ["127.0.0.1", "evil.example"])
def test_a_page_in_a_real_browser_buys_nothing(bridge: Bridge, host: str) -> None:
    traps = json.dumps([base64.b64encode(trap(padding)).decode() for padding in range(3)])
    targets = json.dumps([endpoint.replace("tcp", "http") + "/" for endpoint in (bridge.rep, bridge.pub)])
    said = visit(PAGE.replace("TARGETS", targets).replace("TRAPS", traps), host)
    assert orders(bridge) == 0
    assert len(said) == 6, "each fetch was refused, and no socket opened"
    assert "answered" not in said
