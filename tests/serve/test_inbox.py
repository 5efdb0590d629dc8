"""What comes while the event loop is busy is handed to the model thread together."""

import asyncio

from refrain.serve.inbox import Inbox


def test_what_comes_in_following_turns_is_handed_over_together():
    async def body():
        inbox = Inbox()
        inbox.add("a")
        inbox.add("b")
        await asyncio.sleep(0)
        inbox.add("c")
        await asyncio.sleep(0)
        assert list(inbox.take(wait=False)) == []
        await asyncio.sleep(0)
        assert list(inbox.take(wait=True)) == ["a", "b", "c"]
        # one that comes alone does not wait for others
        inbox.add("d")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert list(inbox.take(wait=False)) == ["d"]
        inbox.add("e")
        inbox.hand_over()
        assert list(inbox.take(wait=False)) == ["e"]

    asyncio.run(body())
