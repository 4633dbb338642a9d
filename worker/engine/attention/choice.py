"""The kernels for a model on its device."""

from typing import Any

import torch

from worker.engine.attention import gpu
from worker.engine.attention.kernels import Kernels
from worker.engine.attention.reference import Reference


def kernels_for(model: Any, page: int, *, slow_attention: bool = False) -> Kernels:
    """The fastest kernels there are for a model's device and precision.

    `page` is the size of a page of the cache in tokens. On a GPU `slow_attention` gives the plain
    kernels of torch, for want of which ModelError is raised where the fast ones cannot be used.
    """
    config = model.config.get_text_config()
    if model.device.type == "cuda":
        return gpu.load(model.device, model.dtype, config, page=page, slow_attention=slow_attention)
    if model.dtype in (torch.float32, torch.bfloat16):
        # Numba takes a quarter of a second to import, which a worker of a GPU need not wait for.
        from worker.engine.attention.cpu import Cpu

        return Cpu()
    return Reference()
