"""The network as its users see it: pixels in, pixels out, and the budgets it was designed for."""

import copy
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from export.benchmark import count
from segmif.manifest import ManifestError
from segmif.model.blocks import upsample
from segmif.model.network import Network
from segmif.model.pixels import best_class
from segmif.model.precision import fold_norms
from segmif.model.weights import load_network, save_network

PAIR_VARIANTS = ["edge", "nano"]
PARTS = ("visible_stream.0.weight", "attentions.0.embed_weight")  # a sensor's own and the attention


def pixels(batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(height)
    visible = torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=random)
    return visible, visible.flip(0, 1)[..., 0]


@pytest.mark.parametrize("variant", PAIR_VARIANTS)
def test_bytes_in_bytes_out(variant: str) -> None:
    network = Network(variant).eval()
    fused, labels, confidence = network(*pixels(2, 64, 96))
    assert fused.shape == (2, 64, 96, 3)
    assert labels.shape == confidence.shape == (2, 64, 96)
    assert fused.dtype == labels.dtype == confidence.dtype == torch.uint8
    assert labels.max() < 9


@pytest.mark.parametrize("variant", PAIR_VARIANTS)
def test_confidence_is_the_softmax_probability_of_the_label(variant: str) -> None:
    network = Network(variant).eval()
    visible, infrared = pixels(2, 64, 96)
    with torch.no_grad():
        for weight in network.core.parameters():  # fresh weights are sure of nothing
            weight.mul_(1.7)
        _, logits = network.predict(visible / 255, infrared / 255)
        _, labels, confidence = network(visible, infrared)
    stride = network.config.label_stride
    likely = upsample(logits, 4 // stride).softmax(dim=1)
    chosen = labels[:, None, ::stride, ::stride].long()
    expected = 255 * likely.gather(1, chosen).squeeze(1)
    assert confidence.max() > 60  # a ninth of 255, and more: there is something to compare
    assert (confidence[:, ::stride, ::stride] - expected).abs().max() <= 0.51
    assert torch.equal(
        confidence,
        confidence[:, ::stride, ::stride].repeat_interleave(stride, 1).repeat_interleave(stride, 2),
    )


@pytest.mark.parametrize(("variant", "gmac", "million"), [("edge", 12, 12), ("nano", 3, 12)])
def test_budget(variant: str, gmac: float, million: float) -> None:
    parameters, macs = count(variant, 480, 640)
    assert macs <= gmac * 1e9
    assert parameters <= million * 1e6


@pytest.mark.parametrize("variant", PAIR_VARIANTS)
def test_both_losses_reach_both_sensors_and_the_attention(variant: str) -> None:
    network = Network(variant)
    # at the start HIA's answer is the same for all pixels up to 1e-4; uneven weights make it speak
    for name, parameter in network.named_parameters():
        if name.endswith("embed_weight"):
            torch.nn.init.normal_(parameter)
    visible, infrared = (array / 255 for array in pixels(2, 64, 96))
    for output in network.predict(visible, infrared):
        network.zero_grad()
        output.square().mean().backward(retain_graph=True)
        for name in PARTS:
            gradient = network.core.get_parameter(name).grad
            assert gradient is not None
            assert gradient.abs().max() > 0, name


def test_batch_does_not_mix() -> None:
    network = Network("nano").eval()
    visible, infrared = pixels(2, 64, 64)
    both, alone = network(visible, infrared), network(visible[1:], infrared[1:])
    for of_both, of_one in zip(both, alone, strict=True):
        # a rounding edge may fall the other way in another batch
        assert (of_both[1:] != of_one).float().mean() < 1e-3


def test_weights_come_back_as_they_went(tmp_path: Path) -> None:
    path = tmp_path / "nano.safetensors"
    network = Network("nano").eval()
    save_network(network, path, {"steps": 0})
    for ours, theirs in zip(
        network(*pixels(1, 32, 64)), load_network(path)(*pixels(1, 32, 64)), strict=True
    ):
        assert torch.equal(ours, theirs)

    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ManifestError, match="one of the two was replaced"):
        load_network(path)


def test_weights_of_another_release_are_told_from_ours(tmp_path: Path) -> None:
    path, network = tmp_path / "edge.safetensors", Network("edge")
    network.core.register_buffer("streets", torch.zeros(9))  # a part that this release lacks
    save_network(network, path, {"steps": 0})
    with pytest.raises(ManifestError, match=r"another edge than this release's: .*core\.streets"):
        load_network(path)


def test_an_artefact_of_another_kind_is_no_weights() -> None:
    with pytest.raises(ManifestError, match=r"nano\.onnx is no safetensors file \(.*\): name weig"):
        load_network(Path("weights/nano.onnx"))


@pytest.mark.parametrize("variant", PAIR_VARIANTS)
def test_folded_norms_say_the_same(variant: str) -> None:
    torch.manual_seed(0)
    network = Network(variant).eval().double()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for numbers in (module.weight, module.bias, module.running_mean, module.running_var):
                torch.nn.init.uniform_(cast(Tensor, numbers), 0.5, 2.0)
    folded = fold_norms(copy.deepcopy(network))
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    for conv in folded.modules():  # scale and shift cost less than a depthwise 1x1 convolution
        if isinstance(conv, torch.nn.Conv2d) and conv.groups == conv.in_channels > 1:
            assert conv.kernel_size != (1, 1)
    visible, infrared = (array.double() / 255 for array in pixels(1, 64, 96))
    for of_one, of_other in zip(
        network.predict(visible, infrared), folded.predict(visible, infrared), strict=True
    ):
        torch.testing.assert_close(of_other, of_one)


def test_the_label_is_the_first_of_the_best_classes() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randint(-3, 3, (2, 9, 33, 35), generator=random).half()  # with many ties
    labels, best = best_class(logits)
    assert torch.equal(labels.long(), logits.argmax(dim=1, keepdim=True))
    assert torch.equal(best, logits.amax(dim=1, keepdim=True))


class Extremes(TorchDispatchMode):
    """Numbers that each greatest value of a tensor is searched in."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.searched: list[int] = []

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = operator(*args, **(kwargs or {}))
        if operator is torch.ops.aten.amax.default:
            self.searched.append(args[0].numel() // found.numel())
        return found


def test_no_single_value_is_searched_in_a_whole_frame() -> None:
    with torch.no_grad(), Extremes() as extremes:
        Network("edge").eval()(*pixels(1, 64, 96))
    assert extremes.searched and max(extremes.searched) < 64


def test_unknown_variant_is_named() -> None:
    with pytest.raises(ValueError, match=r"no variant 'huge'; there are paper, edge, .*nano"):
        Network("huge")
