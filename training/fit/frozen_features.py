"""
The features of frozen layers, computed once for each view, so that a mask alone learns fast.

A run that repeats its views (`Samples`, `views`) and trains nothing but the mask would compute the
same features in each round.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from segmif.model.network import Network
from segmif.model.pair_network import PairNetwork

from ..data.frames import Frames
from ..data.samples import Samples, SamplingConfig
from . import losses
from .step import Moved, StepConfig

MOST_BYTES = 1 << 30  # of features that are kept; what is beyond is computed each time
MASK = "mask"  # the part of a network that learns

Arguments = Sequence[Any]  # of the mask: tensors, or tuples of them


class _MaskReached(Exception):
    """Ends a forward pass at the mask, whose inputs are known then."""


def learns_mask_alone(network: Network) -> bool:
    """Whether all that learns is the mask, and nothing else of the network changes."""
    parts = dict(network.core.named_children())
    mask = parts.pop(MASK, None)
    if mask is None:
        return False
    others = nn.ModuleList(parts.values())
    learning = any(weight.requires_grad for weight in others.parameters())
    # In training, norms would update their statistics even though no weight learns.
    in_training = any(module.training for part in others for module in part.modules())
    return not learning and not in_training


class FrozenFeatures:
    """The inputs of a network's mask for each view, as `batches` of it and of the labels."""

    def __init__(
        self,
        network: Network,
        frames: Frames,
        config: SamplingConfig,
        device: torch.device,
        autocast: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self.shape: tuple[int, ...] = ()  # of the mask's inputs
        self.computed = 0  # views
        self._network, self._frames, self._config = network, frames, config
        self._device, self._autocast = device, autocast
        self._kept: dict[tuple[int, int], list[Tensor]] = {}
        self._bytes = 0

    def batches(self, first: int, stop: int) -> Iterator[list[Tensor]]:
        """The mask's inputs and the labels of the steps first .. stop - 1, phase after phase."""
        phase_start = 0  # the step with which a phase begins
        for number, phase in enumerate(self._config.phases):
            samples = Samples(
                self._frames,
                self._frames.facts,
                self._frames.taxonomy,
                phase,
                self._config,
                (self._config.seed, number),
                self._frames.sources,
            )
            from_step, to_step = max(first - phase_start, 0), min(stop - phase_start, phase.steps)
            for step in range(from_step, to_step):
                indices = range(step * phase.batch, (step + 1) * phase.batch)
                views = [self._view(samples, number, index) for index in indices]
                yield [torch.stack(arrays) for arrays in zip(*views, strict=True)]
            phase_start += phase.steps

    def _view(self, samples: Samples, phase: int, index: int) -> list[Tensor]:
        """The mask's inputs and the labels (H, W) of a sample, kept while there is room."""
        key = phase, samples.view_of(index)
        if key in self._kept:
            return self._kept[key]
        visible, infrared, labels = samples[index]
        view = [*self._features(visible, infrared), labels]
        self._bytes += sum(each.nbytes for each in view)
        if self._bytes <= MOST_BYTES:
            self._kept[key] = view
        return view

    def _features(self, visible: Tensor, infrared: Tensor) -> list[Tensor]:
        """The mask's inputs, each (C, h, w) in half precision."""
        self.computed += 1
        pair = (each[None].to(self._device) / 255 for each in (visible, infrared))
        with torch.no_grad(), self._autocast():
            arguments = mask_inputs(self._network, *pair)
        self.shape = shape_of(arguments)
        return [each[0].half().cpu() for each in flat(arguments)]


class MaskLearner(Moved):
    """What learns from the features of frozen layers: the mask alone."""

    def __init__(
        self, network: Network, config: StepConfig, shape: Callable[[], Sequence[int]]
    ) -> None:
        """`shape` gives that of the mask's inputs, as `shape_of`, once there are any."""
        super().__init__(network, config)
        self._shape = shape

    def forward(self, *arrays: Tensor, teachers: Sequence[Network], step: int) -> dict[str, Tensor]:
        """The losses of a batch of `FrozenFeatures.batches`; there are no teachers."""
        *features, labels = arrays
        dtype = next(self.network.core.parameters()).dtype
        mask = dict(self.network.core.named_children())[MASK]
        logits = mask(*nested([each.to(dtype) for each in features], self._shape()))
        with torch.autocast(labels.device.type, enabled=False):
            loss = losses.segmentation(logits.float(), labels)
            return {"total": self.balance(None, loss), "mask": loss.detach()}


def mask_inputs(network: Network, visible: Tensor, infrared: Tensor) -> Arguments:
    """What the mask gets for visible (B, H, W, 3) and infrared (B, H, W) in [0, 1]."""
    caught: list[Arguments] = []

    def stop(_: nn.Module, arguments: Arguments) -> None:
        caught.append(arguments)
        raise _MaskReached

    mask = dict(network.core.named_children())[MASK]
    hook = mask.register_forward_pre_hook(stop)
    core = network.core
    try:
        given = visible.permute(0, 3, 1, 2), infrared.unsqueeze(1)
        if isinstance(core, PairNetwork):
            core.segment(*given)  # without the work on the picture
        else:
            network.predict(visible, infrared)
    except _MaskReached:
        pass
    finally:
        hook.remove()
    return caught[0]


def flat(arguments: Arguments) -> list[Tensor]:
    """The tensors of arguments, those within tuples too."""
    tensors: list[Tensor] = []
    for argument in arguments:
        tensors += argument if isinstance(argument, tuple) else (argument,)
    return tensors


def shape_of(arguments: Arguments) -> tuple[int, ...]:
    """0 for each argument that is a tensor, else the length of its tuple."""
    return tuple(len(each) if isinstance(each, tuple) else 0 for each in arguments)


def nested(tensors: Sequence[Tensor], shape: Sequence[int]) -> list[Any]:
    """The arguments that `flat` made tensors of; `shape` is their `shape_of`."""
    remaining = iter(tensors)
    arguments: list[Any] = []
    for count in shape:
        arguments.append(tuple(islice(remaining, count)) if count else next(remaining))
    return arguments
