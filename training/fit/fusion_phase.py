"""
The fusion decoder alone, after all phases: what it reads no longer moves, the mask stays as it is.

Beside the mask's loss it never converges (docs/decisions/0004).
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor
from tqdm import tqdm

from segmif.model.color import luma
from segmif.model.network import Network
from segmif.model.pair_network import PairNetwork

from ..data.frames import Frames
from ..data.samples import Phase, SamplingConfig, batches
from . import losses
from .losses import FusionLossConfig
from .run_folder import FINISH, RECORD_EVERY, Run, finite
from .step import OptimizerConfig
from .throughput import Throughput

NAME = "fusion decoder"  # as the progress bar has it


@dataclass(frozen=True, kw_only=True)
class FusionPhaseConfig(SamplingConfig, OptimizerConfig, FusionLossConfig):
    """What the fusion decoder alone is trained by."""

    finish: Phase | None = None  # None: it is not
    save_every: int = 200  # steps


def train_fusion_decoder(
    run: Run,
    network: Network,
    frames: Frames,
    config: FusionPhaseConfig,
    after: int,
    *,
    resume: bool,
) -> None:
    """
    Trains the decoder as [finish] says, after `after` steps of all phases.

    The run keeps the state of it beside that of the phases and, with `resume`, goes on from there.
    """
    finish = config.finish
    if finish is None:
        return
    network.requires_grad_(False).eval()
    decoder = cast(PairNetwork, network.core).fusion.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(decoder.parameters(), config.learning_rate, weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, finish.steps)
    state = {"network": network, "optimizer": optimizer, "schedule": schedule}
    first = _first_step(run, state, resume=resume)
    run.open_curves(after + first)
    fresh = replace(config, phases=(finish,), seed=config.seed + 1)
    throughput = Throughput(batches(frames, fresh, first, finish.steps))
    quiet = not run.fabric.is_global_zero
    bar = tqdm(throughput, NAME, initial=first, total=finish.steps, unit="step", disable=quiet)
    for done, batch in enumerate(bar, start=first + 1):
        step = after + done - 1  # the curves go on where those of the phases end
        loss = fusion_loss(network, [array.to(run.fabric.device) for array in batch[:2]], config)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if (done - 1) % RECORD_EVERY == 0:
            run.record(step, finite({"loss/finish": loss}, step))
            bar.set_postfix({"loss": f"{loss.item():.3f}"})
        if done % config.save_every == 0 or done == finish.steps:
            finite({"loss/finish": loss}, step)
            run.save(state | {"step": done}, FINISH)
    run.close()
    if first < finish.steps:
        run.fabric.print(f"{NAME}: {throughput}")
    network.requires_grad_(True).eval()


def _first_step(run: Run, state: dict[str, Any], *, resume: bool) -> int:
    """Where to begin, with `state` as it was there."""
    if resume and run.holds(FINISH):
        return int(run.restore(state, FINISH)["step"])
    run.save(state | {"step": 0}, FINISH)  # or a killed run's successor takes an earlier one's up
    return 0


def fusion_loss(network: Network, frames: list[Tensor], config: FusionLossConfig) -> Tensor:
    """Of bytes, visible (B, H, W, 3) and infrared (B, H, W)."""
    visible, infrared = (array / 255 for array in frames)
    seen = luma(visible)
    core = cast(PairNetwork, network.core)
    fused = core.fuse(visible.permute(0, 3, 1, 2), seen.unsqueeze(1), infrared.unsqueeze(1))
    return losses.fusion_of_both_kinds(fused.squeeze(1), seen, infrared, config.fusion_weights)
