"""Training on our attention kernels: taken where they run, and in the precision that they know."""

import os
from pathlib import Path

import torch

from segmif.model.hia import HierarchicalInteractiveAttention
from segmif.ops import native


def use_kernels(path: Path, precision: str | None) -> str:
    """
    Has HIA run on the kernels of a library; gives the precision to train in.

    Raises ValueError if they do not know the precision, or do not run on this machine.
    """
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    known = ["16-mixed", "32-true"] if kind == "cuda" else ["32-true"]  # CPUs mix bfloat16 alone
    precision = precision or known[0]
    if precision not in known:
        raise ValueError(
            f"{path.name} knows no {precision} on {kind}: --precision {' or '.join(known)}"
        )
    kernels = native.Kernels(path, kind)
    try:
        _try(kernels)
    except native.KernelError as error:
        raise ValueError(
            f"{path.name} does not run on {kind}, which is what trains here ({error}): `make "
            "plugin` on the machine with the GPU, or train without --kernels"
        ) from error
    native.use(kernels)
    return precision


def _try(kernels: native.Kernels) -> None:
    """One small call; KernelError if it is refused, before a run has begun."""
    device = torch.device(kernels.device)
    if device.type == "cuda":  # under torchrun, that of this process
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    block = HierarchicalInteractiveAttention(8, heads=2, stride=4).to(device)
    nothing = torch.zeros(1, 8, 4, 4, device=device)
    kernels.attention(nothing, nothing, nothing, *block.parameters())
