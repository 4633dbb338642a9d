"""The paged cache of keys and values, and what it remembers of prompts."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from transformers.generation.continuous_batching import PagedAttentionCache

from worker.engine.attention.old_kernels import Kernels, Speaking


class PrefixCache(PagedAttentionCache):
    """The paged cache, remembering what each request found and forgetting the oldest first.

    `kernels` attend over it; `speaking` are the ids of the requests of the current step, in order,
    and `step` is what its layers share (see worker.engine.attention_interface).
    """

    step: Speaking

    def __init__(self, kernels: Kernels, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernels = kernels
        self.speaking: Sequence[str] = ()
        self.found: dict[str, int] = {}

    def search_prefix_match(self, request_id: str, prompt_ids: list[int]) -> int:
        """The number of a prompt's tokens whose keys and values are cached."""
        tokens: int = super().search_prefix_match(request_id, prompt_ids)
        self.found[request_id] = tokens
        return tokens

    def matched_pages(self, prompt_ids: Sequence[int]) -> list[int]:
        """The pages that hold the longest cached beginning of a prompt."""
        allocator = next(iter(self.cache_allocators.values()))
        pages: list[int] = allocator.match_prefix_blocks(prompt_ids)
        return pages

    @property
    def free_pages(self) -> int:
        """Pages that hold nothing, neither a request's tokens nor a remembered prefix."""
        allocator = next(iter(self.cache_allocators.values()))
        unused: int = self.pool.num_free_sectors * allocator.blocks_per_sector
        return unused + int(self.pool.count_free_blocks(allocator.index))

    def forget(self, pages: int) -> None:
        """Drop the remembered prefixes that have been unused longest, until `pages` are freed.

        The stock cache drops all of them at once.
        """
        allocator = next(iter(self.cache_allocators.values()))
        ledger = allocator.ledger
        oldest = list(islice(ledger.cached_blocks, max(pages, 0)))
        for page in oldest:
            del ledger.cached_blocks[page]
            del ledger.hash_to_block[ledger.block_to_hash.pop(page)]
        self.pool.free_blocks(allocator.index, oldest)
