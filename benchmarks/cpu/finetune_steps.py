"""
What fine-tuning a mask costs, with the frozen layers in each step and with their features kept.

`python -m benchmarks.cpu.finetune_steps VARIANT ...` prints CPU seconds, which other work on the
machine does not change much.
"""

import sys
import time
from collections.abc import Callable

import torch
from lightning_fabric import Fabric
from torch import Tensor

from segmif.model.network import Network
from training.finetune.plan import LARGEST_CROP
from training.finetune.run import freeze_all_but_mask
from training.fit.frozen_features import MaskLearner, flat, mask_inputs, shape_of
from training.fit.step import Learner, Moved, StepConfig, parameter_groups, take_step

BATCH, REPEATED = 4, 4
CONFIG = StepConfig(fuse_every=1_000_000)


def main(variants: list[str]) -> None:
    """Print a row for each variant."""
    torch.set_num_threads(1)
    print("CPU seconds: a view through the frozen layers, a step of the mask, a whole step")
    for variant in variants:
        network = Network(variant).train()
        freeze_all_but_mask(network)
        batch = _batch(len(network.config.taxonomy.names))
        pair = batch[0][:1] / 255, batch[1][:1] / 255
        with torch.no_grad():
            inputs = mask_inputs(network, *pair)
            view_s = seconds(lambda: mask_inputs(network, *pair))  # noqa: B023  called at once
        features = [each.expand(BATCH, -1, -1, -1).half() for each in flat(inputs)]
        alone = MaskLearner(network, CONFIG, lambda: shape_of(inputs))  # noqa: B023
        mask_s = step_seconds(alone, [*features, batch[2]])
        whole_s = step_seconds(Learner(network, CONFIG), batch)
        megabytes = sum(each[0].nbytes for each in features) / 1e6
        print(f"{variant:12} {view_s:.3f} {mask_s:.3f} {whole_s:.3f}  {megabytes:.2f} MB a view")


def _batch(classes: int) -> list[Tensor]:
    """Visible, infrared and labels of noise."""
    size = (BATCH, *LARGEST_CROP)
    visible = torch.randint(0, 255, (*size, 3), dtype=torch.uint8)
    infrared = torch.randint(0, 255, size, dtype=torch.uint8)
    return [visible, infrared, torch.randint(0, classes, size, dtype=torch.uint8)]


def step_seconds(learner: Moved, batch: list[Tensor]) -> float:
    """CPU seconds of a step of the optimiser."""
    fabric = Fabric(accelerator="cpu", devices=1, precision="32-true")
    wrapped, optimizer = fabric.setup(learner, torch.optim.AdamW(parameter_groups(learner)))
    return seconds(lambda: take_step(fabric, wrapped, optimizer, batch, 1, CONFIG, []))


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of a call, the mean of some after a first one."""
    work()
    began = time.process_time()
    for _ in range(REPEATED):
        work()
    return (time.process_time() - began) / REPEATED


if __name__ == "__main__":
    main(sys.argv[1:])
