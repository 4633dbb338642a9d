"""The kernels for a model on its device."""

from typing import Any

from worker.engine.attention.kernels import Kernels
from worker.engine.attention.reference import Reference


def kernels_for(model: Any) -> Kernels:
    """The fastest kernels there are for a model's device and precision."""
    del model
    return Reference()
