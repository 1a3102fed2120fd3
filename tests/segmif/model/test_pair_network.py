"""`edge` and `nano` on a pretrained encoder: budget, what their parts agree on, how they start."""

from pathlib import Path

import pytest
import torch
from torch import nn

from segmif.model.encoders.efficientnet import WIDTHS, Depthwise, EfficientNetLite
from segmif.model.network import Network
from segmif.model.pair_network import PairNetwork
from training.fit import imagenet

VARIANTS = ("edge", "nano")


@pytest.mark.parametrize("variant", VARIANTS)
def test_at_most_150_convolutions_and_channels_of_our_own_in_sixteens(variant: str) -> None:
    network = Network(variant)
    convolutions = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    assert len(convolutions) <= 150
    ours = [m for n, m in convolutions.items() if ".encoder." not in n]
    wide = [m.out_channels for m in ours if m.out_channels > 9]
    assert not [width for width in wide if width % 16]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dark", ["visible", "infrared", None])
def test_mask_and_fused_frame_alone_are_those_of_both_together(
    variant: str, dark: str | None
) -> None:
    torch.manual_seed(0)
    core = Network(variant).eval().core
    assert isinstance(core, PairNetwork)
    visible = torch.rand(2, 3, 64, 96) * (dark != "visible")
    infrared = torch.rand(2, 1, 64, 96) * (dark != "infrared")
    luma = visible.mean(1, keepdim=True)
    with torch.no_grad():
        fused, logits = core(visible, luma, infrared)
        assert torch.equal(core.segment(visible, infrared), logits)
        assert torch.equal(core.fuse(visible, luma, infrared), fused)
    assert logits.shape == (2, 9, 16, 24) and fused.shape == luma.shape


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_sensor_of_a_batch_is_its_own(variant: str) -> None:
    """The sensors lie one behind the other in the batch: no pair may see another one's infrared."""
    torch.manual_seed(1)
    core = Network(variant).eval().core
    assert isinstance(core, PairNetwork)
    visible, infrared = torch.rand(3, 3, 64, 64), torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        together = core.segment(visible, infrared)
        alone = [core.segment(visible[i : i + 1], infrared[i : i + 1]) for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)


def test_depthwise_convolutions_stay_in_full_precision_under_autocast() -> None:
    torch.manual_seed(4)
    layer, features = Depthwise(16, 16, 3, padding=1, groups=16), torch.rand(1, 16, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        narrow = layer(features)
    assert narrow.dtype == torch.bfloat16  # what follows stays narrow
    assert torch.equal(narrow, layer(features).to(torch.bfloat16))  # and is rounded once


def test_published_norms_are_folded_exactly(tmp_path: Path) -> None:
    """The first block of the published network, norms and all, against ours that started there."""
    torch.manual_seed(2)
    published = published_state()
    torch.save(published, tmp_path / "published.pth")
    encoder = EfficientNetLite().double().eval()
    imagenet.start_from(encoder, tmp_path / "published.pth")
    image = torch.randn(1, 3, 32, 32, dtype=torch.float64)

    def step(
        name: str, norm: str, features: torch.Tensor, stride: int = 1, groups: int = 1
    ) -> torch.Tensor:
        weight = published[f"{name}.weight"].double()
        seen = nn.functional.conv2d(
            features, weight, None, stride, weight.shape[-1] // 2, groups=groups
        )
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, gain, bias = (published[f"{norm}.{part}"].double() for part in parts)
        return nn.functional.batch_norm(seen, mean, variance, gain, bias, eps=imagenet.EPSILON)

    stem = step("_conv_stem", "_bn0", image, stride=2).clamp(0, 6)
    name = "_blocks.0."
    look = step(f"{name}_depthwise_conv", f"{name}_bn1", stem, groups=32).clamp(0, 6)
    expected = step(f"{name}_project_conv", f"{name}_bn2", look)
    features = encoder(image)
    assert [each.shape[1] for each in features] == list(WIDTHS)
    assert torch.allclose(features[0], expected, rtol=1e-4, atol=1e-5)


def published_state() -> dict[str, torch.Tensor]:
    """Random weights under the published names, for every convolution that ours has."""
    encoder = EfficientNetLite()
    state: dict[str, torch.Tensor] = {}

    def add(conv: nn.Module, name: str, norm: str) -> None:
        assert isinstance(conv, nn.Conv2d)
        state[f"{name}.weight"] = torch.randn_like(conv.weight) * 0.2
        width = conv.out_channels
        state[f"{norm}.running_mean"] = torch.randn(width)
        state[f"{norm}.running_var"] = torch.rand(width) + 0.5
        state[f"{norm}.weight"], state[f"{norm}.bias"] = torch.rand(width), torch.randn(width)

    add(encoder.stem[0], "_conv_stem", "_bn0")
    for number, block in enumerate(encoder.blocks):
        if isinstance(block.expand, nn.Sequential):
            add(block.expand[0], f"_blocks.{number}._expand_conv", f"_blocks.{number}._bn0")
        add(block.depthwise[0], f"_blocks.{number}._depthwise_conv", f"_blocks.{number}._bn1")
        add(block.project, f"_blocks.{number}._project_conv", f"_blocks.{number}._bn2")
    return state
