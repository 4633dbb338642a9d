"""Attention by the variable-length FlashAttention that torch brings along, on a GPU."""

from functools import partial
from typing import Any

import torch

from worker.engine.attention.old_kernels import Speaking

PAGE = 256
"""Pages of the cache must hold a multiple of so many tokens."""


class Flash:
    """Kernels for a GPU (see worker.engine.attention.old_kernels.Kernels).

    `attend` is torch.nn.attention.varlen.varlen_attn, or what stands in for it in tests.
    """

    capturable = True

    def __init__(self, attend: Any) -> None:
        # Splitting the keys of paged requests corrupts rows in silence (pytorch issue 194167).
        self._attend = partial(attend, num_splits=1, enable_gqa=True)

    def read(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        queries: torch.Tensor,
        keys: torch.Tensor,
        longest: tuple[int, int],
        scale: float | None,
    ) -> torch.Tensor:
        """Attend in one kernel; a window of nothing to the right is what causal means."""
        output: torch.Tensor = self._attend(
            query, key, value, queries, keys, *longest, scale=scale, window_size=(-1, 0)
        )
        return output

    def speak(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        step: Speaking,
        layer: int,
        scale: float | None,
    ) -> torch.Tensor:
        """Attend in one kernel, straight from the pages.

        The longest that keys could be is the table's width, a constant, so that a captured graph
        stays valid.
        """
        del layer
        ones = torch.arange(len(query) + 1, dtype=torch.int32, device=query.device)
        output: torch.Tensor = self._attend(
            query,
            key,
            value,
            ones,
            None,
            1,
            step.table.shape[1] * key.shape[1],
            scale=scale,
            seqused_k=step.lengths,
            block_table=step.table,
        )
        return output


def load(device: torch.device, dtype: torch.dtype) -> Flash:
    """The kernels, tried on a page of zeros; raises ImportError or RuntimeError."""
    from torch.nn.attention.varlen import varlen_attn

    flash = Flash(varlen_attn)
    query = torch.zeros(1, 2, 64, dtype=dtype, device=device)
    pages = torch.zeros(1, PAGE, 1, 64, dtype=dtype, device=device)
    table = torch.zeros(1, 1, dtype=torch.int32, device=device)
    starts = torch.tensor([0, 1], dtype=torch.int32, device=device)
    flash.speak(query, pages, pages, Speaking.of((), table, starts, PAGE), 0, None)
    return flash
