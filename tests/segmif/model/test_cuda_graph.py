"""A CUDA graph holds work of the GPU alone: no step of a network may need the host."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from segmif.model.config import VARIANTS
from segmif.model.network import Network

HOST = {"aten::lift_fresh", "aten::_local_scalar_dense", "aten::nonzero"}  # to it, from it, both


class Steps(TorchDispatchMode):
    """Notes the name of every operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own is not annotated
        self.names: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.names.add(func._schema.name)
        call: Callable[..., Any] = func
        return call(*args, **(kwargs or {}))


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_step_of_a_network_needs_the_host(variant: str) -> None:
    network = Network(variant).eval()
    pair = (torch.zeros(1, 64, 64, 3, dtype=torch.uint8), torch.zeros(1, 64, 64, dtype=torch.uint8))
    with torch.no_grad(), Steps() as steps:
        network(*pair)
    assert "aten::convolution" in steps.names
    assert not steps.names & HOST
