"""Who joins the batch next: slots, cache pages, and rows for the pictures."""

import threading
import time
from collections import deque
from collections.abc import Iterable

import torch

from worker.engine.answers import Answer, Work
from worker.engine.batch.batch import Batch
from worker.engine.batch.sampling import Sampling
from worker.engine.errors import OutOfMemory
from worker.engine.model.embedding import PictureEmbedding
from worker.engine.vision.image_pool import Extent, ImagePool
from worker.engine.vision.images import Tiles
from worker.engine.vision.tower import Vision


class Admission:
    """Keeps prepared answers in order and lets them into the batch as room appears.

    One thread calls it, except for `pin`, which any thread may call.
    """

    def __init__(
        self, batch: Batch, pool: ImagePool, embedding: PictureEmbedding, vision: Vision, tiles: int
    ) -> None:
        self._batch = batch
        self._pool = pool
        self._embedding = embedding
        self._vision = vision
        self._tiles_per_pass = tiles
        self._epoch = pool.epoch
        self._lock = threading.Lock()
        self._waiting: deque[Answer] = deque()
        self._inside: dict[Answer, None] = {}
        self.retreated: set[Answer] = set()
        """Open answers that were in a batch that memory was short for: one of them may be why."""

    def __len__(self) -> int:
        return len(self._waiting)

    def pin(self, work: Work) -> bool:
        """Hold the rows of all of a request's pictures if their features are already there."""
        with self._lock:
            work.extents = self._pool.hold_if_filled(work.keys) or []
        return bool(work.extents)

    def put(self, answer: Answer) -> None:
        """Queue an answer whose pictures are prepared."""
        self._waiting.append(answer)

    def drop(self, answer: Answer) -> None:
        """Forget an answer, wherever it is, and give back what it holds."""
        work = answer.work
        if answer in self._waiting:
            self._waiting.remove(answer)
        self._leave(answer)
        self.retreated.discard(answer)
        with self._lock:
            self._pool.release(work.extents)
            work.extents = []

    def admit(self, eos: frozenset[int]) -> dict[Answer, OutOfMemory]:
        """Let answers join, first come first served, and compute their picture features.

        An answer that waits for rows lets those behind it pass that need none; one whose prompt
        begins like a prompt that is being read waits a step and then finds it cached. Returns the
        answers whose pictures the device had no memory for.
        """
        joined: list[Answer] = []
        rows_are_short = False
        for answer in list(self._waiting):
            work = answer.work
            if not self._batch.fits(work.total):
                break
            if not work.extents and (rows_are_short or not self._hold(work)):
                rows_are_short = True
                continue
            ids = self._ids(work)
            if self._batch.shares_unfinished_prefix(ids):
                continue
            self._join(answer, ids, eos)
            joined.append(answer)
        return self._see(joined)

    def retreat(self) -> dict[Answer, OutOfMemory]:
        """Take everybody out of a batch that the device has no memory for, to let fewer in again.

        What they had generated is generated anew, and equal. Returns the answer that did not fit
        though it was alone and its prompt was read in the smallest steps, if that is how it stands.
        """
        inside = list(self._inside)
        for answer in inside:
            self._leave(answer)
        if not self._batch.shrink():
            return {answer: _out_of_memory("answering; it does not fit") for answer in inside}
        self._waiting.extendleft(reversed(inside))
        self.retreated.update(inside)
        return {}

    def _leave(self, answer: Answer) -> None:
        if answer.work.running is not None:
            self._batch.remove(answer.work.running)
            answer.work.running = None
            del self._inside[answer]

    def _join(self, answer: Answer, ids: list[int], eos: frozenset[int]) -> None:
        work, request = answer.work, answer.work.request
        if work.draw is None:
            work.draw = Sampling.of(request.temperature, request.top_p, request.top_k, request.seed)
        ends = frozenset[int]() if request.ignore_eos else eos
        work.running = self._batch.add(answer.id, ids, request.max_new_tokens, ends, work.draw)
        work.admitted = time.monotonic()
        self._waiting.remove(answer)
        self._inside[answer] = None

    def _hold(self, work: Work) -> bool:
        wanted = list(zip(work.keys, [1, *work.lengths], strict=True))
        with self._lock:
            work.extents = self._pool.hold(wanted) or []
            if self._pool.epoch != self._epoch:
                # Ids start over, so nothing cached under the old ids may be found again.
                self._epoch = self._pool.epoch
                self._batch.forget_prefixes()
        return bool(work.extents)

    def _ids(self, work: Work) -> list[int]:
        """The prompt with picture ids; its first word is replaced by the scope's own copy of it,
        so that no prompt of another scope has a common beginning with it."""
        own, *pictures = work.extents
        ids = work.prompt.expand([self._pool.ids(extent) for extent in pictures])
        if 0 not in work.prompt.images:
            ids[0] = self._pool.ids(own)[0]
        return ids

    def _see(self, joined: list[Answer]) -> dict[Answer, OutOfMemory]:
        """Compute the features that are missing, some pictures at a time."""
        missing: dict[Extent, tuple[Tiles, tuple[int, int]]] = {}
        for work in (answer.work for answer in joined):
            own, *pictures = work.extents
            if not own.filled:
                self._embedding.fill_with_word(self._pool.row_numbers(own)[0], work.prompt.ids[0])
                own.filled = True
            for i, extent in enumerate(pictures):
                if not extent.filled and work.tiles is not None:
                    missing[extent] = (work.tiles[i], work.sizes[i])
        for group in self._passes(missing):
            self._look(group, missing)
        now = time.monotonic()
        for answer in joined:
            answer.work.started = now
            answer.work.tiles = None
        return {
            answer: _out_of_memory("looking at the picture")
            for answer in joined
            if not all(extent.filled for extent in answer.work.extents)
        }

    def _passes(
        self, missing: dict[Extent, tuple[Tiles, tuple[int, int]]]
    ) -> Iterable[list[Extent]]:
        """Group pictures so that each group has about `tiles_per_pass` tiles."""
        group: list[Extent] = []
        tiles = 0
        for extent, (cut, _) in missing.items():
            if group and tiles + len(cut) > self._tiles_per_pass:
                yield group
                group, tiles = [], 0
            group.append(extent)
            tiles += len(cut)
        if group:
            yield group

    def _look(
        self, group: list[Extent], missing: dict[Extent, tuple[Tiles, tuple[int, int]]]
    ) -> None:
        """Compute features; where memory is short, in halves, from now on. One picture that does
        not fit alone stays unfilled."""
        try:
            self._fill(group, missing)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            self._tiles_per_pass = max(1, self._tiles_per_pass // 2)
            if len(group) > 1:
                middle = len(group) // 2
                self._look(group[:middle], missing)
                self._look(group[middle:], missing)

    def _fill(
        self, group: list[Extent], missing: dict[Extent, tuple[Tiles, tuple[int, int]]]
    ) -> None:
        features = self._vision.features([missing[extent] for extent in group])
        for extent, rows in zip(group, features, strict=True):
            self._embedding.fill(self._pool.row_numbers(extent), rows)
            extent.filled = True


def _out_of_memory(doing: str) -> OutOfMemory:
    return OutOfMemory(
        f"The device ran out of memory while {doing}; try again, send fewer or smaller pictures, "
        "or lower slots."
    )
