"""Steps on a GPU: those that generate are captured CUDA graphs, and the host is one step ahead.

A graph is replayed with one call where its step has hundreds of kernels, and reads what it is told
from the same addresses each time. Tokens come back while the next step runs, which knows them: each
seat's last token stays on the device. Who finished a step ago is found out one step late; the token
too many is dropped, and since all steps run in one stream, nobody reads pages before they are
written.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from worker.engine.batch.runner import Runner, Step
from worker.engine.batch.running import Running
from worker.engine.errors import ModelError, first_line


class GraphRunner(Runner):
    """A Runner whose decode steps are captured once for some numbers of rows, greedy and drawing.

    A step of another number of rows is filled up with rows of a seat that is nobody's.
    """

    is_ahead = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._nobody = len(self._seats) - 1
        self.sizes = sizes(self._nobody)
        self._told = torch.ones(2, self.sizes[-1], dtype=torch.int64, device=self._device)
        self._told[0] = self._nobody
        self._chosen = torch.zeros(self.sizes[-1], dtype=torch.int64, device=self._device)
        self._graphs: dict[tuple[int, bool], Callable[[], None]] = {}

    @property
    def graphs(self) -> int:
        """How many steps have been captured."""
        return len(self._graphs)

    def warm_up(self) -> None:
        """Capture all steps, the largest first so that the others find its memory.

        Raises ModelError when that fails: a step outside a graph would be several times slower.
        """
        pool = None
        for size in reversed(self.sizes):
            for draws in (False, True):
                try:
                    graph, pool = capture(partial(self._captured, size, draws), pool)
                except RuntimeError as error:
                    raise ModelError(
                        f"A step of {size} rows cannot be captured in a CUDA graph "
                        f"({first_line(error)}); lower slots or the cache size if memory "
                        "is short, or report it."
                    ) from error
                self._graphs[size, draws] = graph

    def generate(self, requests: Sequence[Running]) -> Step:
        """Launch the graph that generates a token for each of some requests."""
        size = next(size for size in self.sizes if size >= len(requests))
        empty = size - len(requests)
        told = [
            [*(running.seat for running in requests), *[self._nobody] * empty],
            [*(running.length for running in requests), *[1] * empty],
        ]
        self._told[:, :size].copy_(self._pinned(torch.tensor(told)), non_blocking=True)
        self._graphs[size, any(running.draw.temperature > 0 for running in requests)]()
        return self._bring(requests, self._chosen[: len(requests)])

    def _most_pages(self, requests: Sequence[Running]) -> int:  # noqa: ARG002
        return self._longest  # as in a graph: tables of one width need one compiled kernel

    def _captured(self, size: int, draws: bool) -> None:
        """One step of so many rows, told and heard at fixed addresses."""
        seats, lengths = self._told[:, :size]
        drawing = None if draws else ()
        self._chosen[:size] = self._decode(seats, lengths, self._longest, drawing)

    def _bring(self, requests: Sequence[Running], chosen: torch.Tensor) -> Step:
        host = torch.empty(len(chosen), dtype=torch.int64, pin_memory=self._pins)
        host.copy_(chosen, non_blocking=True)
        return Step(requests, host, self._event())

    def _send(self, host: torch.Tensor) -> torch.Tensor:
        return self._pinned(host).to(self._device, non_blocking=True)

    @property
    def _pins(self) -> bool:
        return self._device.type == "cuda"

    def _pinned(self, host: torch.Tensor) -> torch.Tensor:
        """The same in memory from which a GPU copies beside the host; the allocator keeps it until
        the copy is done."""
        return host.pin_memory() if self._pins else host

    def _event(self) -> Any:
        if not self._pins:
            return None
        event = torch.cuda.Event()
        event.record()
        return event


def sizes(slots: int) -> list[int]:
    """Numbers of rows for which steps are captured: none is filled up by more than a third of it
    beyond eight rows."""
    steps = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256]
    steps += range(320, slots + 64, 64)
    return [*(size for size in steps if size < slots), slots]


def capture(step: Callable[[], None], pool: Any) -> tuple[Callable[[], None], Any]:
    """Capture a step in a CUDA graph; returns what replays it, and the memory pool for the next.

    Run once before, so that libraries and compilers have set themselves up.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool):
        step()
    return graph.replay, graph.pool()
