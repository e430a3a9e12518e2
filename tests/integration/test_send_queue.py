"""The queue behind a real socket: what must wait leaves by itself, and what must not leave does not."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
from typing import TYPE_CHECKING, Any

from ibbridge.clock import SystemClock
from ibbridge.codec.messages import REQUESTS
from ibbridge.config.model import Config
from ibbridge.sim import Simulator
from ibbridge.sim.engine import EPOCH
from ibbridge.tws.connector import TwsConnector
from ibbridge.tws.outbound import OutboundMessage, always
from ibbridge.tws.send_port import SendPort
from ibbridge.tws.send_queue import SendQueue
from ibbridge.tws.session import Session
from ibbridge.tws.supervisor import Supervisor
from ibbridge.tws.transport import TcpTransports

if TYPE_CHECKING:
    from collections.abc import Iterable

PATIENCE = 20
ASKED = 12


class Owner:
    """Waits for so many answers."""

    def __init__(self, answers: int) -> None:
        self.ready, self.answered, self.gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.answers = answers

    def deliver(self, messages: Iterable[Any], ts: int, *, more: bool) -> None:
        for message in messages:
            if message[0] == "currentTime":
                self.answers -= 1
        if not self.answers:
            self.answered.set()

    def stage_changed(self) -> None:
        pass

    def connection_ready(self) -> None:
        self.ready.set()

    def connection_lost(self) -> None:
        self.gone.set()


def late(_: OutboundMessage) -> bool:
    """Refuse the message, because it must not leave any more when its turn comes."""
    return False


def test_what_must_wait_leaves_when_its_time_comes_and_what_is_dropped_does_not():
    async def run() -> None:
        owner, pacing, clock = Owner(ASKED), SendQueue(100), SystemClock()
        port = SendPort(pacing, lambda: True, clock)
        async with Simulator(start=EPOCH) as simulator:
            tws = dataclasses.replace(Config().tws, port=simulator.port)
            supervisor = Supervisor(tws, Session(0.0), random.random)
            gateway = TwsConnector(supervisor, port, TcpTransports(tws, None, (), clock), owner, clock)
            running = asyncio.create_task(gateway.run())
            await owner.ready.wait()
            assert port.dialect is not None
            data = port.dialect.write("reqCurrentTime", {})
            for on_send in [late, always] * ASKED:
                assert port.send(OutboundMessage(REQUESTS["reqCurrentTime"], data, on_send=on_send))
            withdrawn = OutboundMessage(REQUESTS["reqCurrentTime"], data)
            assert port.send(withdrawn)
            assert port.waiting(withdrawn.request.pace), "some must wait"
            assert port.withdraw(withdrawn)
            await owner.answered.wait()
            assert port.waiting(withdrawn.request.pace) == []
            for _ in range(ASKED):
                port.send(OutboundMessage(REQUESTS["reqCurrentTime"], data))
            assert pacing.drop(), "and the timer that is left finds nothing"
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            assert owner.gone.is_set()

    asyncio.run(asyncio.wait_for(run(), PATIENCE))
