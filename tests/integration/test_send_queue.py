"""The queue behind a real socket: what must wait leaves by itself, and what must not leave does not."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from ibbridge.codec.messages import REQUESTS
from ibbridge.config.model import Config
from ibbridge.sim import Simulator
from ibbridge.sim.engine import EPOCH
from ibbridge.tws.connector import TwsConnector
from ibbridge.tws.outbound import OutboundMessage
from ibbridge.tws.send_queue import SendQueue
from ibbridge.tws.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibbridge.codec import Dialect

PATIENCE = 20
ASKED = 12


class Owner:
    """Waits for so many answers; what is about `late` does not leave."""

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

    def started(self, dialect: Dialect) -> None:
        self.ready.set()

    def on_send(self, message: OutboundMessage) -> bool:
        return bool(message.about != "late")

    def lost(self) -> None:
        self.gone.set()


def test_what_must_wait_leaves_when_its_time_comes_and_what_is_dropped_does_not():
    async def run() -> None:
        owner, pacing = Owner(ASKED), SendQueue(100)
        async with Simulator(start=EPOCH) as simulator:
            tws = dataclasses.replace(Config().tws, port=simulator.port)
            gateway = TwsConnector(tws, Session(0.0), owner, send_queue=pacing)
            running = asyncio.create_task(gateway.run())
            await owner.ready.wait()
            assert gateway.dialect is not None
            data = gateway.dialect.write("reqCurrentTime", {})
            for about in ["late", None] * ASKED:
                assert gateway.send(OutboundMessage(REQUESTS["reqCurrentTime"], data, about=about))
            withdrawn = OutboundMessage(REQUESTS["reqCurrentTime"], data)
            assert gateway.send(withdrawn)
            assert gateway.waiting(withdrawn.request.pace), "some must wait"
            assert gateway.withdraw(withdrawn)
            await owner.answered.wait()
            assert gateway.waiting(withdrawn.request.pace) == []
            for _ in range(ASKED):
                gateway.send(OutboundMessage(REQUESTS["reqCurrentTime"], data))
            assert pacing.drop(), "and the timer that is left finds nothing"
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            assert owner.gone.is_set()

    asyncio.run(asyncio.wait_for(run(), PATIENCE))
