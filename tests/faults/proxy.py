"""A way to the store that can be cut, silenced, slowed, muted or made to lose replies."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable
from typing import Any

CHUNK = 1 << 16


class _Link:
    """One connection over the proxy, both of its ends."""

    def __init__(self, ends: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self.ends = ends
        self.silent = False

    def reset(self) -> None:
        for end in self.ends:
            end.transport.abort()


class Proxy:
    """Listens on a port of the loopback address and passes on what comes, until told otherwise."""

    def __init__(self, to_port: int) -> None:
        self._to = to_port
        self._links: set[_Link] = set()
        self._refuses = False
        self._delay_s = 0.0
        self._lost_share = 0.0
        self._lost_after: int | None = None
        self._loop = asyncio.new_event_loop()
        self._talks = asyncio.Event()
        self._talks.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        start = asyncio.start_server(self._carry, "127.0.0.1", 0, limit=CHUNK)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """End all connections and take none until healed."""
        self._do(self._cut)

    def reset(self) -> None:
        """End all connections; new ones are taken."""
        self._do(self._reset)

    def silence(self) -> None:
        """Lose all that comes over the connections that are there, for ever: they are half-open."""
        self._do(self._silence)

    def slow(self, seconds: float) -> None:
        """Hold up every piece that passes for so long."""
        self._do(lambda: setattr(self, "_delay_s", seconds))

    def lose(self, share: float) -> None:
        """Lose this share of the replies, each with its connection; what was sent is done."""
        self._do(lambda: setattr(self, "_lost_share", share))

    def lose_one(self, after: int) -> None:
        """Lose one reply with its connection, when so many more have passed."""
        self._do(lambda: setattr(self, "_lost_after", after))

    @property
    def has_lost_it(self) -> bool:
        """Whether that reply was lost; if not, none is lost any more."""
        lost = self._lost_after is None
        self._lost_after = None
        return lost

    def lead_to(self, port: int) -> None:
        """Pass on to another port, as an address does that has moved; connections end."""
        self._to = port
        self.reset()

    def mute(self) -> None:
        """Hold back replies, until healed; what is sent arrives."""
        self._do(self._talks.clear)

    def heal(self) -> None:
        """Pass on what comes, as at first; connections that were silenced stay so."""
        self._do(self._heal)

    def close(self) -> None:
        """End all."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, what: Callable[[], Any]) -> None:
        done = threading.Event()

        def step() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(step)
        done.wait()

    def _cut(self) -> None:
        self._refuses = True
        self._reset()

    def _reset(self) -> None:
        for link in list(self._links):
            link.reset()

    def _silence(self) -> None:
        for link in self._links:
            link.silent = True

    def _heal(self) -> None:
        self._refuses = False
        self._delay_s = self._lost_share = 0.0
        self._talks.set()

    async def _end(self) -> None:
        self._server.close()
        self._talks.set()
        self._cut()
        carrying = asyncio.all_tasks() - {asyncio.current_task()}
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)

    async def _carry(self, from_: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        if self._refuses:
            to.transport.abort()
            return
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._to, limit=CHUNK)
        except OSError:
            to.transport.abort()
            return
        link = _Link((to, writer))
        self._links.add(link)
        # The streams' own callback would print a cancellation, which here is the end of the proxy.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(
                self._pump(link, from_, writer, replies=False),
                self._pump(link, reader, to, replies=True),
            )
        self._links.discard(link)
        for end in link.ends:  # a silent one has closed neither
            end.close()

    def _loses(self) -> bool:
        if self._lost_after is not None:
            self._lost_after = self._lost_after - 1 if self._lost_after else None
            return self._lost_after is None
        return random.random() < self._lost_share

    async def _pump(
        self, link: _Link, source: asyncio.StreamReader, to: asyncio.StreamWriter, *, replies: bool
    ) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            while piece := await source.read(CHUNK):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                if replies:
                    await self._talks.wait()
                    if self._loses():
                        link.reset()
                        return
                if not link.silent:
                    to.write(piece)
                    await to.drain()
        if not link.silent:
            to.close()
