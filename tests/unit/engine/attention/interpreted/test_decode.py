"""A request that generates attends to all its keys and to nothing else, however they are split."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
import torch

from worker.engine.attention.gpu import BLOCK, OLD_BLOCK
from worker.engine.attention.triton_decode import SPLITS, decode, splits_for

EXACT = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}


@dataclass
class Paged:
    """A cache that is NaN but for the keys and values of requests of certain lengths."""

    keys: torch.Tensor
    values: torch.Tensor
    table: torch.Tensor
    lengths: torch.Tensor

    @classmethod
    def of(
        cls, lengths: list[int], groups: int, dim: int, page: int, dtype: torch.dtype
    ) -> "Paged":
        """Pages are given out in no order, and the table is padded with the trash page."""
        needed = [-(-length // page) for length in lengths]
        free = (torch.randperm(sum(needed)) + 1).tolist()
        table = torch.zeros(len(lengths), max(needed) + 1, dtype=torch.int32)
        keys = torch.full((sum(needed) + 1, page, groups, dim), torch.nan, dtype=dtype)
        values = keys.clone()
        for row, (length, count) in enumerate(zip(lengths, needed, strict=True)):
            pages = [free.pop() for _ in range(count)]
            table[row, :count] = torch.tensor(pages)
            for cells in (keys, values):
                own = torch.full((count * page, groups, dim), torch.nan, dtype=dtype)
                own[:length] = torch.randn(length, groups, dim)
                cells[pages] = own.view(count, page, groups, dim)
        return cls(keys, values, table, torch.tensor(lengths, dtype=torch.int32))

    def attended(self, query: torch.Tensor, scale: float) -> torch.Tensor:
        """The right answer in float64, request by request and head by head."""
        output = torch.empty(query.shape, dtype=torch.float64)
        shared = query.shape[1] // self.keys.shape[2]
        for row, length in enumerate(self.lengths.tolist()):
            pages = self.table[row].long()
            keys, values = (x[pages].flatten(0, 1)[:length].double() for x in self.both)
            for head in range(query.shape[1]):
                scores = keys[:, head // shared] @ query[row, head].double() * scale
                output[row, head] = scores.softmax(0) @ values[:, head // shared]
        return output

    @property
    def both(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values."""
        return self.keys, self.values


def check(paged: Paged, heads: int, splits: int, block: int = BLOCK) -> None:
    """Attend with fresh queries, which as in a layer are part of a wider tensor."""
    groups, dim = paged.keys.shape[2:]
    rows, dtype = len(paged.lengths), paged.keys.dtype
    query = torch.randn(rows, heads + 2 * groups, dim).to(dtype)[:, :heads]
    output = decode(query, *paged.both, paged.table, paged.lengths, dim**-0.5, splits, block)
    wanted = paged.attended(query, dim**-0.5)
    assert output.dtype == dtype
    torch.testing.assert_close(output.double(), wanted, atol=EXACT[dtype], rtol=EXACT[dtype])


@pytest.mark.parametrize("splits", SPLITS)
def test_ragged_lengths_in_any_number_of_parts(splits: int) -> None:
    torch.manual_seed(splits)
    lengths = [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5]
    paged = Paged.of(lengths, groups=1, dim=64, page=16, dtype=torch.float32)
    check(paged, heads=4, splits=splits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("block", [BLOCK, OLD_BLOCK])
def test_half_precision(block: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    paged = Paged.of([1, 17, 150], groups=2, dim=64, page=16, dtype=dtype)
    check(paged, heads=8, splits=2, block=block)


@pytest.mark.parametrize(
    ("heads", "groups", "dim"),
    [(4, 1, 128), (3, 3, 128), (14, 2, 128), (32, 1, 64), (2, 2, 80), (2, 1, 96)],
)
def test_every_size_of_heads_and_groups(heads: int, groups: int, dim: int) -> None:
    """Of 7B, 13B and 34B (4, 1 and 7 heads share a group), and one wider than a matrix product."""
    torch.manual_seed(heads * dim)
    paged = Paged.of([5, 70], groups, dim, page=32, dtype=torch.float16)
    check(paged, heads, splits=2)


@pytest.mark.parametrize("page", [4, 16, 64, 256])
def test_the_last_key_may_be_the_first_or_the_last_of_a_page(page: int) -> None:
    torch.manual_seed(page)
    lengths = [page - 1, page, page + 1, 2 * page, 2 * page + 1]
    check(Paged.of(lengths, groups=1, dim=64, page=page, dtype=torch.float32), heads=2, splits=4)


def test_rows_that_pad_a_captured_graph_disturb_nobody() -> None:
    torch.manual_seed(0)
    paged = Paged.of([40, 9], groups=2, dim=64, page=16, dtype=torch.float16)
    padded = Paged(
        paged.keys,
        paged.values,
        torch.cat([paged.table, torch.zeros(2, paged.table.shape[1], dtype=torch.int32)]),
        torch.tensor([40, 9, 1, 1], dtype=torch.int32),
    )
    paged.keys[0, 0], paged.values[0, 0] = 1, 2  # what those rows wrote to the trash page
    check(padded, heads=4, splits=8)


def test_a_graphs_table_may_be_a_part_of_a_wider_one() -> None:
    torch.manual_seed(0)
    paged = Paged.of([40, 9, 33], groups=2, dim=64, page=16, dtype=torch.float32)
    wide = torch.full((3, 50), -1, dtype=torch.int32)
    wide[:, : paged.table.shape[1]] = paged.table
    paged.table = wide[:, : paged.table.shape[1]]
    check(paged, heads=4, splits=2)


def test_scores_of_any_size_do_not_overflow() -> None:
    paged = Paged.of([150], groups=1, dim=64, page=16, dtype=torch.float32)
    paged.keys.mul_(1e3)
    check(paged, heads=2, splits=2)


def test_a_cache_of_more_numbers_than_an_int32_counts() -> None:
    """Memory that nobody touches is never there in fact: only the last page is."""
    torch.use_deterministic_algorithms(False)
    page, dim = 16, 64
    pages = 2**31 // (page * dim) + 2
    cells = torch.empty(pages, page, 1, dim, dtype=torch.float16)
    cells[-1] = torch.randn(page, 1, dim)
    table = torch.tensor([[pages - 1]], dtype=torch.int32)
    paged = Paged(cells, cells, table, torch.tensor([9], dtype=torch.int32))
    check(paged, heads=2, splits=1)


def test_the_number_of_parts_falls_as_requests_fill_the_gpu() -> None:
    splits = [splits_for(rows, groups=8, multiprocessors=132) for rows in (1, 8, 32, 64, 128, 256)]
    assert splits == [32, 32, 16, 8, 4, 2]
    assert all(more >= fewer for more, fewer in pairwise(splits))
    assert splits_for(2048, groups=40, multiprocessors=132) == 1
    assert set(splits) <= set(SPLITS)
