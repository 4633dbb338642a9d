"""What the interpreter needs: memory that no kernel wrote is NaN, and bfloat16 is multiplied."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]


@pytest.fixture(autouse=True)
def poison() -> Iterator[None]:
    """Fill whatever is allocated without a value with NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.ones(3).new_empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True, scope="session")
def dot_products_of_bfloat16() -> Iterator[None]:
    """The interpreter keeps bfloat16 as whole numbers of 16 bits, and multiplies those."""
    import triton.language as tl
    from triton.runtime import interpreter

    given = interpreter.InterpreterBuilder.create_dot

    def create_dot(builder: Any, a: Any, b: Any, *rest: Any) -> Any:
        a, b = (
            builder.cast_impl(x, tl.block_type(tl.float32, list(x.data.shape)))
            if x.dtype == tl.bfloat16
            else x
            for x in (a, b)
        )
        return given(builder, a, b, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)
        yield
