"""CUDA graphs, rehearsed on a CPU.

A capture records each operator with the very tensors that it was given and gave. A replay runs the
operators again on these tensors and nothing else, as a captured graph does: whatever Python would
decide anew stays as it was at capture, and what the host would read from the device is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

READS = {"_local_scalar_dense", "item", "equal", "is_nonzero", "nonzero", "masked_select"}
"""Operators whose result the host waits for, or whose shape depends on values."""


class Graph(TorchDispatchMode):
    """Records operators while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operator and record it; raises RuntimeError for one that a capture refuses."""
        name = func._schema.name.removeprefix("aten::")
        if name in READS or (
            any(isinstance(x, list) for x in args)
            and name == "index"
            and any(getattr(x, "dtype", None) is torch.bool for x in tree_flatten(args)[0])
        ):
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        out = func(*args, **(kwargs or {}))
        self.operators.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        """Run what was recorded again, on the same tensors."""
        for func, args, kwargs, out in self.operators:
            again = func(*args, **kwargs)
            for old, new in zip(tree_flatten(out)[0], tree_flatten(again)[0], strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def _refused(_: torch.Tensor) -> None:
    raise RuntimeError("operation not permitted when stream is capturing: tolist")


def capture(step: Callable[[], None], pool: Any) -> tuple[Callable[[], None], Any]:
    """Stands for worker.engine.batch.graphs.capture."""
    step()
    graph = Graph()
    with graph, patch.object(torch.Tensor, "tolist", _refused):  # on a CPU it is no operator
        step()
    return graph.replay, pool
