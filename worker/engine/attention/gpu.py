"""The kernels of a GPU: Triton's for all but prompts, and for those the attention of torch.

Nothing slower ever takes their place in silence: `load` tries each of them, and where one cannot be
used it raises ModelError with the cause.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from worker.engine.attention.kernels import DecodeStep, Kernels, PromptStep
from worker.engine.attention.reference import Reference
from worker.engine.attention.trial import SLOW, Shape, try_all
from worker.engine.errors import ModelError, first_line

LEAST_CAPABILITY = (7, 0)
FLASH_CAPABILITY = (8, 0)
"""The least CUDA compute capability of Triton, and of FlashAttention 2 and bfloat16."""

WIDEST_HEAD = 256
ALIGNED = 8
"""Numbers that a head may have at most, and must have a multiple of (flash_api.cpp)."""

BLOCK, OLD_BLOCK = 64, 32
"""Keys that a program of `decode` reads at a time: as many as fit its registers, which on a GPU
below FLASH_CAPABILITY hold what others load into shared memory."""

BEHIND_CACHED = 2
"""What _efficient_attention_forward calls a causal mask whose queries are the last of the keys."""

PromptAttention = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, PromptStep, float], torch.Tensor
]


@dataclass(frozen=True)
class Flash:
    """Attention of prompts by the FlashAttention 2 that torch brings along.

    `operator` is torch.ops.aten._flash_attention_forward, or what stands in for it in tests. The
    arguments are those that torch 2.11 and 2.13 share.
    """

    operator: Any

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        step: PromptStep,
        scale: float,
    ) -> torch.Tensor:
        """See Kernels.prompt."""
        queries, keys = step.longest
        output: torch.Tensor = self.operator(
            query,
            key,
            value,
            step.starts,
            step.key_starts,
            # Where all requests have a single query the operator would regroup the heads and split
            # the keys by a heuristic of its own; as a bound, two is as right as one.
            max(queries, 2),
            keys,
            0.0,  # dropout
            True,  # causal
            False,  # no debug mask
            scale=scale,
        )[0]
        return output


@dataclass(frozen=True)
class Efficient:
    """Attention of prompts on a GPU that is too old for FlashAttention 2.

    `operator` is torch.ops.aten._efficient_attention_forward, which knows no groups: their keys and
    values are repeated for each head.
    """

    operator: Any

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        step: PromptStep,
        scale: float,
    ) -> torch.Tensor:
        """See Kernels.prompt."""
        shared = query.shape[1] // key.shape[1]
        key, value = (x.repeat_interleave(shared, dim=1) for x in (key, value))
        output: torch.Tensor = self.operator(
            query.unsqueeze(0),
            key.unsqueeze(0),
            value.unsqueeze(0),
            None,  # no bias
            step.starts,
            step.key_starts,
            *step.longest,
            0.0,  # dropout
            BEHIND_CACHED,
            scale=scale,
        )[0]
        return output.squeeze(0)


class OnGpu:
    """Kernels for a GPU (see worker.engine.attention.kernels.Kernels)."""

    capturable = True

    def __init__(self, multiprocessors: int, attend: PromptAttention, block: int = BLOCK) -> None:
        """Take the multiprocessors of the GPU, how it attends within prompts, and the keys that a
        program of `decode` reads at a time.

        Raises ImportError where Triton is not installed.
        """
        from worker.engine.attention import triton_decode, triton_elementwise

        self._decode, self._elementwise = triton_decode, triton_elementwise
        self._multiprocessors, self._block = multiprocessors, block
        self._attend = attend

    def rotate_and_store(
        self,
        qkv: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        slots: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        heads: int,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Rotate in place; all three are views of qkv."""
        self._elementwise.rotate_and_store(qkv, cos, sin, slots, keys, values, heads)
        query, key, value = qkv.tensor_split([heads, heads + keys.shape[2]], dim=1)
        return query, key, value

    def prompt(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        step: PromptStep,
        scale: float,
    ) -> torch.Tensor:
        """Attend in one kernel."""
        return self._attend(query, key, value, step, scale)

    def decode(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        step: DecodeStep,
        scale: float,
    ) -> torch.Tensor:
        """Attend in two kernels, straight from the pages."""
        splits = self._decode.splits_for(len(query), keys.shape[2], self._multiprocessors)
        return self._decode.decode(
            query, keys, values, step.table, step.lengths, scale, splits, self._block
        )

    def norm(self, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        """Divide by the root mean square."""
        return self._elementwise.norm(x, weight, eps)

    def gated(self, gate_up: torch.Tensor) -> torch.Tensor:
        """Multiply silu of the first half by the second."""
        return self._elementwise.gated(gate_up)


def load(
    device: torch.device,
    dtype: torch.dtype,
    config: Any,
    *,
    page: int,
    slow_attention: bool = False,
) -> Kernels:
    """The kernels for a language model of this configuration on a CUDA device, each tried.

    `page` is the size of a page of the cache in tokens. `slow_attention` gives the plain kernels of
    torch instead, which serve any precision and any GPU. Raises ModelError where a kernel cannot be
    used or is wrong.
    """
    if slow_attention:
        return Reference()
    capability = torch.cuda.get_device_capability(device)
    shape = Shape.of(config)
    check(str(device), capability, dtype, shape.dim)
    attend: PromptAttention
    if capability >= FLASH_CAPABILITY:
        attend, block = Flash(torch.ops.aten._flash_attention_forward), BLOCK
    else:
        attend, block = Efficient(torch.ops.aten._efficient_attention_forward), OLD_BLOCK
    multiprocessors = torch.cuda.get_device_properties(device).multi_processor_count
    try:
        kernels = OnGpu(multiprocessors, attend, block)
    except ImportError as error:
        raise ModelError(
            f"The model cannot run on {device}: the package triton cannot be imported "
            f"({first_line(error)}); pip install triton, or {SLOW}."
        ) from error
    try_all(kernels, device, dtype, shape, page)
    return kernels


def check(device: str, capability: tuple[int, int], dtype: torch.dtype, dim: int) -> None:
    """Raise ModelError for a GPU, a precision or a size of heads that the kernels do not serve."""
    name = str(dtype).removeprefix("torch.")
    has = "{}.{}".format(*capability)
    if capability < LEAST_CAPABILITY:
        raise ModelError(
            f"{device} has CUDA compute capability {has} and the kernels need 7.0 or more; use a "
            f"newer GPU, or {SLOW}."
        )
    if dtype not in (torch.float16, torch.bfloat16):
        raise ModelError(
            f"On a GPU the model is to be bfloat16 or float16 and not {name}; load it in one of "
            f"them, or {SLOW}."
        )
    if dtype == torch.bfloat16 and capability < FLASH_CAPABILITY:
        raise ModelError(
            f"{device} has CUDA compute capability {has} and bfloat16 needs 8.0 or more; load the "
            f"model in float16, or {SLOW}."
        )
    if dim > WIDEST_HEAD or dim % ALIGNED:
        raise ModelError(
            f"The model's heads have {dim} numbers and the kernels need a multiple of {ALIGNED} up "
            f"to {WIDEST_HEAD}; serve another model, or {SLOW}."
        )
