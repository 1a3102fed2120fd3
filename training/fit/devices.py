"""The devices of a run: one CPU or GPU, or several GPUs by `torchrun`."""

import os
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import nn

from segmif.model.network import Network


def open_devices(precision: str | None) -> Fabric:
    """The CPU or GPU of this process (with torchrun, one of several), in a precision that suits."""
    if precision is None:
        precision = "bf16-mixed" if computes_in_bfloat16() else "32-true"
    several = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = Fabric(
        # the fusion decoder goes without a gradient in some steps: DDP must look for that
        strategy="ddp_find_unused_parameters_true" if several > 1 else "auto",
        devices=int(os.environ["LOCAL_WORLD_SIZE"]) if several > 1 else 1,
        num_nodes=several // int(os.environ["LOCAL_WORLD_SIZE"]) if several > 1 else 1,
        precision=cast(Any, precision),
    )
    fabric.launch()
    return fabric


def computes_in_bfloat16() -> bool:
    """Whether the GPU, or without one the CPU, multiplies in bfloat16."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def with_common_norms(learner: nn.Module, fabric: Fabric) -> nn.Module:
    """With several GPUs, BatchNorm that looks at the whole batch (there is none for CPUs)."""
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(learner)  # changes its modules in place
    return learner


def copy_from_first(network: Network, fabric: Fabric) -> None:
    """Gives every device the first one's network: BatchNorm on CPUs has statistics of its own."""
    if fabric.world_size > 1:
        numbers = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
        network.load_state_dict(fabric.broadcast(numbers))
