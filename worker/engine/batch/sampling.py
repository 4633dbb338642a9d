"""Choosing tokens: greedy and sampled answers side by side, each as if it were alone.

The stock loop either takes the highest score of every request or draws for every request from one
global generator. Here the stock loop always takes the highest score, and a sampled request gets
Gumbel noise added to its scores first, which makes the highest score a draw from the distribution
(Gumbel-max trick; Maddison, Tarlow, Minka 2014). The noise depends on nothing but the request's
seed, the position and the token, so a seeded answer repeats whatever else is in the batch, and a
greedy request's scores are never touched.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import torch

ROWS = 4  # of int32 arguments per request: temperature and top_p (as float bits), top_k, key
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


class Sampler:
    """Stands where the continuous batch expects its list of logits processors.

    Has the members that `ContinuousBatchProcessor` and its inputs use of
    `ContinuousBatchingLogitsProcessorList` (transformers
    generation/continuous_batching/cb_logits_processors.py).
    """

    tensors_required = ROWS
    do_processing = True

    def __init__(self) -> None:
        self._sampled: list[int] = []

    @property
    def draws(self) -> bool:
        """Whether anybody in the prepared step draws."""
        return bool(self._sampled)

    def fill_defaults(self, arguments: torch.Tensor) -> None:
        """Set all arguments, int32 [ROWS, 1], to greedy."""
        arguments.zero_()

    def prepare_tensor_args(self, requests_in_batch: list[Any], arg_storage: torch.Tensor) -> Any:
        """Write each request's arguments into its column of arg_storage, int32 [ROWS, requests]."""
        states = [request.state for request in requests_in_batch if request.has_new_token]
        draws = [state.logit_processor_kwargs["sampling"] for state in states]
        self._sampled = [i for i, draw in enumerate(draws) if draw.temperature > 0]
        if not self._sampled:
            return arg_storage
        keys = [
            _signed(_mix(_mix(draw.seed & MASK) ^ state.position_offset))
            for draw, state in zip(draws, states, strict=True)
        ]
        floats = torch.tensor([[d.temperature for d in draws], [d.top_p for d in draws]])
        whole = torch.tensor([[d.top_k for d in draws], keys], dtype=torch.int32)
        columns = torch.cat([floats.view(torch.int32), whole])
        arg_storage[:ROWS, : len(draws)] = columns.to(arg_storage.device)
        return arg_storage

    def __call__(
        self, _ids: torch.Tensor, scores: torch.Tensor, arguments: torch.Tensor
    ) -> torch.Tensor:
        """Make each sampled row's highest score a draw: float32 [requests, vocabulary]."""
        if not self._sampled:
            return scores
        rows = torch.tensor(self._sampled, device=scores.device)
        chosen = arguments[:, rows]
        temperature, top_p = chosen[:2].view(torch.float32).unsqueeze(-1)
        kept = keep_top(scores[rows] / temperature, top_k=chosen[2], top_p=top_p)
        return scores.index_copy(0, rows, kept + gumbel(chosen[3], kept.shape[-1]))


def draw_alone(scores: torch.Tensor, draw: Sampling, position: int) -> torch.Tensor:
    """Make one request's highest score a draw: float32 [1, vocabulary].

    `position` is the number of tokens before the one to be drawn.
    """
    kept = keep_top(
        scores / draw.temperature,
        top_k=torch.tensor([draw.top_k], device=scores.device),
        top_p=torch.tensor([[draw.top_p]], device=scores.device),
    )
    key = _signed(_mix(_mix(draw.seed & MASK) ^ position))
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


def _signed(x: int) -> int:
    """The int32 with the bits of a 32-bit number."""
    return x - (MASK + 1) if x > MASK // 2 else x
