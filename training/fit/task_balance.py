"""How much each of the two tasks counts: weights that follow the losses of a run."""

from typing import Literal

import torch
from torch import Tensor, nn

Balancing = Literal["fixed", "dynamic"]


class TaskBalance(nn.Module):
    """
    Both losses to one, each task at weight 1: the plainest balance, and the base of the others.

    All state lives in buffers and parameters, so a checkpoint holds it and a GPU need not be waited
    for.
    """

    weights: Tensor  # (2,) of fusion and segmentation

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.ones(2))

    def forward(self, fusion: Tensor | None, segmentation: Tensor) -> Tensor:
        """The weighted sum; a step without a fusion loss (None) has the other's share alone."""
        total = self.weights[1] * segmentation
        return total if fusion is None else total + self.weights[0] * fusion

    def observe(self, step: int, fusion: Tensor | None, segmentation: Tensor) -> None:
        """Observes one step's losses."""


class DynamicWeightAverage(TaskBalance):
    """
    The task that stops falling gets more (DWA, Liu et al., CVPR 2019).

    weight_k = 2 softmax_k(r_k / T), r_k = mean loss of the last window / of the one before. SegMiF
    uses the same with T = 1000, which leaves both weights at 1.00; DWA's own T = 2 moves them.
    """

    sums: Tensor  # (2,) of the losses since the window began
    before: Tensor  # (2,) mean losses of the last full window, 0 if there is none
    fusion: Tensor  # loss of the last step that had one

    def __init__(self, window: int = 100, temperature: float = 2.0) -> None:
        super().__init__()
        self.window = window  # steps whose losses are averaged: single steps are noise
        self.temperature = temperature
        self.register_buffer("sums", torch.zeros(2))
        self.register_buffer("before", torch.zeros(2))
        self.register_buffer("fusion", torch.zeros(()))

    def observe(self, step: int, fusion: Tensor | None, segmentation: Tensor) -> None:
        """
        Observes one step's losses; at the end of a window the weights change.

        A step without a fusion loss (None) counts with that of the last one.
        """
        if fusion is not None:
            self.fusion.copy_(fusion.detach())
        self.sums += torch.stack((self.fusion, segmentation.detach()))
        if (step + 1) % self.window:
            return
        mean = self.sums / self.window
        ratios = mean / self.before.clamp_min(1e-8)
        changed = 2 * (ratios / self.temperature).softmax(dim=0)
        self.weights.copy_(torch.where(self.before.all(), changed, self.weights))
        self.before.copy_(mean)
        self.sums.zero_()


def task_balance(kind: Balancing) -> TaskBalance:
    """The balance of a name."""
    return TaskBalance() if kind == "fixed" else DynamicWeightAverage()
