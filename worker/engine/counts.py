"""What an engine has done and what it holds, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Counts:
    """Tokens since an engine was loaded: of prompts, of these found cached, and generated."""

    prompt: int = 0
    cached: int = 0
    generated: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.prompt + other.prompt,
            self.cached + other.cached,
            self.generated + other.generated,
        )


@dataclass(frozen=True)
class Memory:
    """Bytes on the GPUs of an engine: what it has taken, and what there are."""

    used: int
    total: int

    @classmethod
    def of(cls, *devices: torch.device | int) -> Memory | None:
        """Add up devices that are GPUs; None where none is.

        Torch's own books are read, not the driver's, which must not be asked while another thread
        captures a graph.
        """
        import torch  # who only counts need not wait for it

        places = [d for d in devices if isinstance(d, int) or d.type == "cuda"]
        if not places:
            return None
        total = sum(torch.cuda.get_device_properties(place).total_memory for place in places)
        return cls(sum(map(torch.cuda.memory_reserved, places)), total)
