"""Where pictures are cut into tiles: in the calling thread or in a pool of processes."""

import multiprocessing
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory

import numpy as np

from worker.engine.errors import PreprocessingCrashed
from worker.engine.requests import Picture
from worker.engine.vision import images
from worker.engine.vision.images import Tiles, Tiling


@dataclass(frozen=True)
class _Shared:
    """Tiles in a block of shared memory: a picture has megabytes of them, and a pickle through a
    pipe copies each byte four times."""

    block: str
    shapes: tuple[tuple[int, ...], ...]

    def take(self) -> list[Tiles]:
        """Copy the tiles out and give the block back."""
        block = SharedMemory(self.block)
        try:
            tiles, start = [], 0
            for shape in self.shapes:
                view = np.ndarray(shape, np.uint8, block.buf, offset=start)
                tiles.append(view.copy())
                start += view.nbytes
                del view  # a block that is looked at cannot be closed
            return tiles
        finally:
            block.close()
            block.unlink()


def _cut_apart(pictures: Sequence[Picture], tiling: Tiling) -> _Shared:
    """Cut pictures in a process of the pool, and leave the tiles where the engine's finds them."""
    tiles = images.tiles(pictures, tiling)
    block = SharedMemory(create=True, size=sum(one.nbytes for one in tiles))
    start = 0
    for one in tiles:
        np.ndarray(one.shape, np.uint8, block.buf, offset=start)[...] = one
        start += one.nbytes
    block.close()
    return _Shared(block.name, tuple(one.shape for one in tiles))


class Preprocessor:
    """Cuts pictures into tiles with `processes` processes; 0 means in the calling thread.

    Processes and not threads, since decoding and scaling in threads starve the thread that feeds
    the device. Thread-safe.
    """

    def __init__(self, tiling: Tiling, processes: int) -> None:
        self._tiling = tiling
        self._processes = processes
        self._lock = threading.Lock()
        self._pool = self._new_pool()

    def cut(self, pictures: Sequence[Picture]) -> Future[list[Tiles]]:
        """Cut pictures; the future holds one tile array per picture, or the error of the first
        that cannot be decoded, or PreprocessingCrashed."""
        future: Future[list[Tiles]] = Future()
        if not self._processes or not pictures:
            try:
                future.set_result(images.tiles(pictures, self._tiling))
            except Exception as error:  # noqa: BLE001 - the future carries it, as a pool's would
                future.set_exception(error)
            return future
        with self._lock:
            try:
                working = self._begin(pictures)
            except BrokenProcessPool:
                # A killed process breaks its pool for good; the next request gets a new one.
                self._pool = self._new_pool()
                working = self._begin(pictures)
        if working is None:
            future.set_exception(PreprocessingCrashed("The engine is closing."))
        else:
            working.add_done_callback(lambda done: _hand_over(done, future))
        return future

    def close(self) -> None:
        """End the processes; work in progress fails with PreprocessingCrashed."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool:
            pool.shutdown(wait=False, cancel_futures=True)

    def _begin(self, pictures: Sequence[Picture]) -> Future[_Shared] | None:
        return self._pool.submit(_cut_apart, pictures, self._tiling) if self._pool else None

    def _new_pool(self) -> ProcessPoolExecutor | None:
        if not self._processes:
            return None
        # Forking a process that has threads and a CUDA context is not safe.
        context = multiprocessing.get_context("forkserver")
        # What a worker process needs is imported once and then shared by all of them.
        context.set_forkserver_preload([__name__])
        return ProcessPoolExecutor(self._processes, mp_context=context)


def _hand_over(done: Future[_Shared], future: Future[list[Tiles]]) -> None:
    if done.cancelled() or isinstance(done.exception(), BrokenProcessPool):
        future.set_exception(
            PreprocessingCrashed("The process that prepared the picture died; try again.")
        )
    elif error := done.exception():
        future.set_exception(error)
    else:
        future.set_result(done.result().take())
