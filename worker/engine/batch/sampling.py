"""Choosing tokens: greedy and sampled answers side by side, each as if it were alone.

A sampled request gets Gumbel noise added to its scores, which makes the highest score a draw from
the distribution (Gumbel-max trick; Maddison, Tarlow, Minka 2014). The noise depends on nothing but
the request's seed, the position and the token, so a seeded answer repeats whatever else is in the
batch, and a greedy request's scores are never touched.
"""

import secrets
import struct
from dataclasses import dataclass

import torch

COLUMNS = 4
MASK = 0xFFFFFFFF


@dataclass(frozen=True)
class Sampling:
    """How one request draws its tokens; temperature 0 is greedy."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0

    @classmethod
    def of(cls, temperature: float, top_p: float, top_k: int, seed: int | None) -> "Sampling":
        """The same with a fresh seed where none was asked for."""
        return cls(temperature, top_p, top_k, secrets.randbits(32) if seed is None else seed)

    def columns(self) -> tuple[int, ...]:
        """The same as `COLUMNS` int32: the bits of temperature and top_p, top_k, the mixed seed."""
        top_k = min(self.top_k, MASK // 2)
        numbers = struct.pack("<ffiI", self.temperature, self.top_p, top_k, _mix(self.seed & MASK))
        return struct.unpack("<4i", numbers)


@dataclass(frozen=True)
class Draws:
    """How the rows of a step draw: float32 `temperature` and `top_p`, int64 `top_k` and `seed`
    (mixed), each [rows]. Temperature 0 is greedy."""

    temperature: torch.Tensor
    top_p: torch.Tensor
    top_k: torch.Tensor
    seed: torch.Tensor

    @classmethod
    def of(cls, columns: torch.Tensor) -> "Draws":
        """Those whose `Sampling.columns` are int32 [rows, COLUMNS]."""
        temperature, top_p = columns[:, :2].contiguous().view(torch.float32).unbind(1)
        top_k, seed = columns[:, 2:].long().unbind(1)
        return cls(temperature, top_p, top_k, seed & MASK)

    def choose(self, scores: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Choose a token for each row: float32 [rows, vocabulary], int64 [rows] -> int64 [rows].

        `positions` are the number of tokens before the one to be chosen. There is no branch on the
        values, so it can be captured in a CUDA graph.
        """
        draws = self.temperature > 0
        warm = torch.where(draws, self.temperature, 1.0).unsqueeze(1)
        kept = keep_top(scores / warm, self.top_k, self.top_p.unsqueeze(1))
        keys = _mix_tensor(self.seed ^ positions)
        drawn = (kept + gumbel(keys, scores.shape[-1])).argmax(-1)
        return torch.where(draws, drawn, scores.argmax(-1))


def draw_alone(scores: torch.Tensor, draw: Sampling, position: int) -> torch.Tensor:
    """Make one request's highest score a draw: float32 [1, vocabulary].

    `position` is the number of tokens before the one to be drawn.
    """
    kept = keep_top(
        scores / draw.temperature,
        top_k=torch.tensor([draw.top_k], device=scores.device),
        top_p=torch.tensor([[draw.top_p]], device=scores.device),
    )
    key = _mix(_mix(draw.seed & MASK) ^ position)
    return kept + gumbel(torch.tensor([key], device=scores.device), kept.shape[-1])


def keep_top(scores: torch.Tensor, top_k: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Set all but the top tokens to -inf: scores [rows, vocabulary], top_k [rows], top_p [rows, 1].

    Keeps what transformers' TopKLogitsWarper followed by TopPLogitsWarper keep.
    """
    ordered, order = scores.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(scores.shape[-1], device=scores.device)
    limit = torch.where(top_k > 0, top_k, scores.shape[-1]).clamp(max=scores.shape[-1])
    smallest = ordered.gather(-1, (limit - 1).long().unsqueeze(-1))
    ordered = ordered.masked_fill(ordered < smallest, -torch.inf)
    likelihood = ordered.softmax(dim=-1)
    before = likelihood.cumsum(dim=-1) - likelihood
    dropped = (before >= top_p) & (rank > 0) & (top_p < 1)
    ordered = ordered.masked_fill(dropped, -torch.inf)
    return torch.empty_like(scores).scatter_(-1, order, ordered)


def gumbel(keys: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Standard Gumbel noise, float32 [len(keys), vocabulary], a pure function of key and column.

    The hash is C. Wellons' lowbias32 (nullprogram.com, "Prospecting for Hash Functions").
    """
    column = torch.arange(vocabulary, device=keys.device, dtype=torch.int64)
    bits = _mix_tensor(_mix_tensor(column).unsqueeze(0) ^ (keys.long() & MASK).unsqueeze(1))
    uniform = (bits.double() + 0.5) / (MASK + 1)
    return -torch.log(-torch.log(uniform)).float()


def _mix_tensor(x: torch.Tensor) -> torch.Tensor:
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & MASK
    return x ^ (x >> 16)


def _mix(x: int) -> int:
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & MASK
    return x ^ (x >> 16)
