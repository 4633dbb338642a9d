"""Attention over the paged cache in which every request sees only its own keys.

Steps come in two kinds. A step that reads prompts hands over the keys of all requests one behind
the other; a step that generates hands over a block table, which says in which pages of the cache
the keys of each request lie. Each kind has a kernel that works anywhere, made of torch's scaled dot
product attention; one for CPUs; and one for GPUs, made of the FlashAttention that torch brings
along.
"""

import logging
from typing import Any

import torch
from transformers import AttentionInterface

from worker.engine.attention import flash
from worker.engine.attention.anywhere import Anywhere
from worker.engine.attention.lanes import OnCpu
from worker.engine.attention.old_kernels import Kernels, Speaking

log = logging.getLogger(__name__)

NAME = "flash_by_request"
"""Continuous batching builds no [queries x all keys] mask for a name that contains "flash"."""


def best_kernels(device: torch.device, dtype: torch.dtype, layers: int) -> Kernels:
    """The fastest kernels for a model of so many layers on a device; warns once where a GPU has no
    fast ones."""
    if device.type != "cuda":
        return OnCpu(layers)
    try:
        return flash.load(device, dtype)
    except (ImportError, RuntimeError) as error:
        log.warning(
            "torch's FlashAttention cannot be used (%s): answers are right and several times "
            "slower. It needs bfloat16 or float16 on a GPU of compute capability 8.0 or newer.",
            str(error).splitlines()[0],
        )
        return Anywhere()


def use(model: Any) -> None:
    """Make a model's language part attend here; its vision tower keeps its own attention."""
    AttentionInterface.register(NAME, attend)
    model.set_attn_implementation({"text_config": NAME})


def attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    *,
    cache: Any,
    cu_seq_lens_q: torch.Tensor,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Store the new keys and values and attend: query [1, heads, tokens, dim] -> [1, tokens, heads,
    dim]. It has the form that transformers' AttentionInterface asks for; `cache` is a PrefixCache,
    whose kernels are used."""
    layer: int = module.layer_idx
    known, fresh = cache.update(key_states=key, value_states=value, layer_idx=layer, kwargs=kwargs)
    query, key, value = (x.squeeze(0).transpose(0, 1) for x in (query, known, fresh))
    starts, kernels = kwargs["cu_seq_lens_k"], cache.kernels
    if kwargs.get("block_table") is None:
        longest = kwargs["max_length_q"], kwargs["max_length_k"]
        output = kernels.read(query, key, value, cu_seq_lens_q, starts, longest, scaling)
    else:
        keys, values = kwargs["k_cache"], kwargs["v_cache"]
        if layer == 0:
            cache.step = Speaking.of(cache.speaking, kwargs["block_table"], starts, keys.shape[1])
        for pages, new in ((keys, key), (values, value)):
            pages.view(-1, *pages.shape[2:]).index_copy_(0, cache.step.slots, new)
        output = kernels.speak(query, keys, values, cache.step, layer, scaling)
    return output.unsqueeze(0), None
