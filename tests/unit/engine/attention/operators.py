"""Stand-ins for the CUDA operators that the GPU's path calls.

Each takes the arguments of its schema in one version of torch, refuses what the C++ behind it
refuses, and answers by plain attention. Read in: torch 2.11's and 2.13's schemas; flash_api.cpp
(mha_varlen_fwd), attention.cu (_flash_attention_forward, _efficient_attention_forward) and
Blas.cpp (_scaled_mm) of pytorch. On tensors without memory they give the shape alone.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch

from worker.engine.attention.kernels import PromptStep
from worker.engine.attention.reference import Reference

POSITIONAL = (
    *("query", "key", "value", "cum_seq_q", "cum_seq_k", "max_q", "max_k"),
    *("dropout_p", "is_causal", "return_debug_mask"),
)
KEYWORDS = {
    "2.11": ("scale", "window_size_left", "window_size_right", "seqused_k", "alibi_slopes"),
    "2.13": (
        *("scale", "window_size_left", "window_size_right", "seqused_k", "alibi_slopes"),
        *("block_table", "num_splits"),
    ),
}
"""Arguments of aten::_flash_attention_forward by version of torch."""


class Refused(RuntimeError):
    """What a check of the operator says."""


def need(condition: bool, message: str) -> None:
    """TORCH_CHECK."""
    if not condition:
        raise Refused(message)


@dataclass
class FlashAttention:
    """aten::_flash_attention_forward of one version of torch on a GPU of one capability."""

    torch_version: str = "2.13"
    capability: tuple[int, int] = (9, 0)
    calls: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, *args: Any, **keywords: Any) -> tuple[torch.Tensor, ...]:
        if len(args) != len(POSITIONAL) or not keywords.keys() <= set(KEYWORDS[self.torch_version]):
            raise TypeError(f"_flash_attention_forward() of torch {self.torch_version}")
        given = {**dict(zip(POSITIONAL, args, strict=True)), **keywords}
        self.calls.append(given)
        self._check(given)
        query, key, value = given["query"], given["key"], given["value"]
        return (
            _attend(query, key, value, given, keywords["scale"]),
            torch.empty(query.shape[1], len(query), device=query.device),
        )

    def _check(self, given: dict[str, Any]) -> None:
        starts, key_starts = given["cum_seq_q"], given["cum_seq_k"]
        need(
            (starts is None) == (key_starts is None),
            "cumulative_sequence_length_q and cumulative_sequence_length_k must be both set or "
            "both not set",
        )
        need(starts is not None, "this stand-in knows the variable-length path alone")
        need(given.get("num_splits") is None, "num_splits requires FA3")
        need(self.capability >= (8, 0), "FlashAttention only supports Ampere GPUs or newer.")
        query, key, value = given["query"], given["key"], given["value"]
        need(
            query.dtype in (torch.float16, torch.bfloat16),
            "FlashAttention only support fp16 and bf16 data type",
        )
        need(key.dtype == value.dtype == query.dtype, "must have the same dtype")
        for x in (query, key, value):
            need(x.dim() == 3, "must have shape (total, heads, head_size)")
            need(x.stride(-1) == 1, "Input tensor must have contiguous last dimension")
        need(key.shape == value.shape, "v must have shape (total_k, num_heads_k, head_size)")
        need(query.shape[2] == key.shape[2], "k must have shape (total_k, num_heads_k, head_size)")
        need(query.shape[2] <= 256, "FlashAttention forward only supports head dimension at most")
        need(query.shape[2] % 8 == 0, "head_size must be a multiple of 8")
        need(query.shape[1] % key.shape[1] == 0, "Number of heads in key/value must divide")
        _check_starts(starts, key_starts)
        need(given["dropout_p"] == 0.0, "dropout in an engine that answers")
        need(not given["return_debug_mask"], "return_softmax is only supported when p_dropout > 0")


@dataclass
class EfficientAttention:
    """aten::_efficient_attention_forward, the same in torch 2.11 and 2.13."""

    calls: list[dict[str, Any]] = field(default_factory=list)

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bias: torch.Tensor | None,
        cu_seqlens_q: torch.Tensor | None,
        cu_seqlens_k: torch.Tensor | None,
        max_seqlen_q: int | None,
        max_seqlen_k: int | None,
        dropout_p: float,
        custom_mask_type: int,
        compute_log_sumexp: bool = False,
        *,
        scale: float | None = None,
        seqlen_k: torch.Tensor | None = None,
        window_size: int | None = None,
    ) -> tuple[torch.Tensor, ...]:
        given = {
            "cum_seq_q": cu_seqlens_q,
            "cum_seq_k": cu_seqlens_k,
            "max_q": max_seqlen_q,
            "max_k": max_seqlen_k,
            "is_causal": True,
        }
        self.calls.append(given)
        need((cu_seqlens_q is None) == (cu_seqlens_k is None), "seqstart_q and seqstart_k")
        need(cu_seqlens_q is not None, "this stand-in knows the variable-length path alone")
        for x in (query, key, value):
            need(x.dim() == 4, "dim() == 4")
            need(x.shape[0] == 1, "cu_seqlen only supports batch_size=1")
            need(x.stride(-1) == 1, "must have contiguous last dimension")
            need(x.dtype == query.dtype, "must have the same dtype")
        need(key.shape[1] == value.shape[1], "key.size(1) == value.size(1)")
        need(query.shape[2] == key.shape[2] == value.shape[2], "query.size(2) == key.size(2)")
        need(query.shape[3] == key.shape[3], "query.size(3) == key.size(3)")
        need(max_seqlen_q is not None, "max_seqlen_q_.has_value()")
        _check_starts(cu_seqlens_q, cu_seqlens_k)
        # Type 2 lets the last query see all keys; type 1 would let the first see the first alone.
        need(custom_mask_type == 2, "the queries of a chunk are the last of its keys")
        need(dropout_p == 0.0 and not compute_log_sumexp, "dropout in an engine that answers")
        need(bias is None and seqlen_k is None and window_size is None, "nothing else is asked of")
        assert scale is not None
        return (_attend(query[0], key[0], value[0], given, scale).unsqueeze(0),)


def scaled_mm(
    left: torch.Tensor,
    right: torch.Tensor,
    scale_a: torch.Tensor,
    scale_b: torch.Tensor,
    bias: torch.Tensor | None = None,
    scale_result: torch.Tensor | None = None,
    out_dtype: torch.dtype | None = None,
    use_fast_accum: bool = False,
) -> torch.Tensor:
    """aten::_scaled_mm with a scale for each row of `left` and each column of `right`."""
    need(left.dtype == right.dtype == torch.float8_e4m3fn, "expected float8_e4m3fn")
    need(left.stride() == (left.shape[1], 1), "mat_a must be row-major")
    need(right.stride() == (1, right.shape[0]), "mat_b must be column-major")
    need(left.shape[1] == right.shape[0], "shapes cannot be multiplied")
    need(left.shape[1] % 16 == 0, "trailing dimension of mat_a must be divisible by 16")
    need(right.shape[1] % 16 == 0, "mat_b shape must be divisible by 16")
    for scale, shape in ((scale_a, (len(left), 1)), (scale_b, (1, right.shape[1]))):
        need(scale.dtype == torch.float32, "scales must be float32")
        need(scale.shape == shape, f"scale must have shape {shape}, got {tuple(scale.shape)}")
        need(scale.is_contiguous(), "scales must be contiguous")
    need(out_dtype == torch.bfloat16, "Only bf16 high precision output types are supported")
    need(bias is None or bias.dtype == torch.bfloat16, "Bias must be BFloat16")
    need(scale_result is None, "scale_result is for float8 output")
    product = left.float() @ right.float() * scale_a * scale_b
    return (product if bias is None else product + bias).to(out_dtype)


def _check_starts(starts: Any, key_starts: Any) -> None:
    for x in (starts, key_starts):
        need(x.dtype == torch.int32, "cu_seqlens must have dtype int32")
        need(x.dim() == 1 and x.is_contiguous(), "cu_seqlens must be contiguous")
    need(len(starts) > 1, "batch size must be positive")
    need(len(starts) == len(key_starts), "cu_seqlens_k must have shape (batch_size + 1)")


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    given: dict[str, Any],
    scale: float,
) -> torch.Tensor:
    """What the kernel computes, where its bounds hold; what they leave out stays NaN."""
    if query.is_meta:
        return torch.empty(query.shape, dtype=query.dtype, device=query.device)
    starts, key_starts = given["cum_seq_q"].tolist(), given["cum_seq_k"].tolist()
    longest = (given["max_q"], given["max_k"])
    for bounds, most in zip((starts, key_starts), longest, strict=True):
        need(all(last - first <= most for first, last in pairwise(bounds)), "beyond max_q or max_k")
    need(given["is_causal"] is True, "causal")
    step = PromptStep(
        slots=torch.empty(0),
        starts=given["cum_seq_q"],
        key_starts=given["cum_seq_k"],
        longest=longest,
        reads=None,
        on_host=(starts, key_starts),
    )
    output = Reference().prompt(query.float(), key.float(), value.float(), step, scale)
    return output.to(query.dtype)
