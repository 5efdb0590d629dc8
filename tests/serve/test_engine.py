"""The model thread: everything that has come when it is stopped is refused at once."""

import asyncio
import threading
import time

import pytest

from refrain.serve.engine import Engine
from refrain.serve.limits import Limits
from refrain.serve.refused import Refused
from refrain.serve.work import Call

SECONDS = 60


def endless(started):
    """A program that is never done."""

    def part(between):
        started.set()
        time.sleep(0.001)

    while True:
        yield Call(part)


@pytest.mark.parametrize("busy", [False, True])
def test_a_program_that_comes_in_the_turn_of_the_stop_is_refused(busy):
    async def body():
        engine = Engine(Limits())
        engine.start(asyncio.get_running_loop())
        deadline = time.monotonic() + 10 * SECONDS
        tasks = []
        if busy:
            started = threading.Event()
            tasks.append(asyncio.create_task(engine.run(endless(started), deadline)))
            while not started.is_set():
                await asyncio.sleep(0)
        tasks.append(asyncio.create_task(engine.run(endless(threading.Event()), deadline)))
        # it has come, but the model thread does not have it yet
        await asyncio.sleep(0)
        hand_over = engine._inbox.hand_over

        def late():
            """Hand over to a thread that has noticed the stop before: a busy one does so without being woken."""
            if busy and engine._closing:
                engine._thread.join(SECONDS)
            hand_over()

        engine._inbox.hand_over = late
        engine.stop()
        async with asyncio.timeout(SECONDS):
            found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(each) for each in found] == [Refused] * len(tasks)
        assert {each.status for each in found} == {503} and engine.unfinished == 0
        with pytest.raises(Refused, match="stops"):
            await engine.run(endless(threading.Event()), deadline)
        engine._thread.join(SECONDS)
        assert not engine._thread.is_alive()

    asyncio.run(body())
