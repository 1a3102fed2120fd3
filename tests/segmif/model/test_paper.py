"""`paper` is SegMiF: its counts are derived by hand, its gradients close the loop."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segmif.model.network import Network

HEIGHT, WIDTH = 480, 640
PIXELS = HEIGHT * WIDTH
KEYS = PIXELS // 32**2  # keys of every attention: the map at stride 32
CLASSES = 9
# width, blocks, stride, patch size and channels before each stage of MiT-B3
STAGES = ((64, 3, 4, 7, 3), (128, 4, 8, 3, 64), (320, 18, 16, 3, 128), (512, 3, 32, 3, 320))


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    return Network("paper").eval()


@pytest.fixture(scope="module")
def on_paper() -> Network:
    """The same without memory: enough to count."""
    with torch.device("meta"):
        return Network("paper").eval()


@pytest.fixture(scope="module")
def macs(on_paper: Network) -> dict[str, int]:
    """Multiply-accumulates of each part at 480x640, in convolutions and matrix products."""
    visible = torch.empty(1, HEIGHT, WIDTH, 3, dtype=torch.uint8, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        on_paper(visible, visible[..., 0])
    counts = counter.get_flop_counts()
    return {
        part: sum(counts[f"Network.core.{part}"].values()) // 2
        for part in ("fusion", "encoder", "head")
    }


def test_noise_gives_pixels_and_known_classes(network: Network) -> None:
    visible = torch.randint(0, 256, (2, 64, 96, 3), dtype=torch.uint8)
    with torch.no_grad():
        fused, labels, confidence = network(visible, visible[..., 1].flip(0))
    assert fused.shape == (2, 64, 96, 3)
    assert labels.shape == confidence.shape == (2, 64, 96)
    assert fused.dtype == labels.dtype == confidence.dtype == torch.uint8
    assert labels.max() < CLASSES


def test_every_parameter_learns_from_the_mask_alone(network: Network) -> None:
    _, logits = network.predict(*_noise())
    logits.square().mean().backward()
    assert [name for name, grad in _gradients(network) if grad is None or not grad.any()] == []
    assert all(grad.isfinite().all() for _, grad in _gradients(network) if grad is not None)


def test_fused_image_leans_on_two_stages_of_the_encoder(network: Network) -> None:
    network.zero_grad(set_to_none=True)
    fused_luma, _ = network.predict(*_noise())
    assert 0 <= fused_luma.min() < fused_luma.max() <= 1
    fused_luma.mean().backward()
    encoder = network.core.get_submodule("encoder")
    reached = {name for name, grad in _gradients(encoder) if grad is not None}
    assert {name.split(".")[1] for name in reached} == {"0", "1"}


def test_parameters_are_those_published(on_paper: Network) -> None:
    head = sum(256 * (width + 1) for width, *_ in STAGES) + 1024 * 256 + 2 * 256 + 257 * CLASSES
    expected = {
        "encoder": sum(_stage_parameters(*stage) for stage in STAGES),
        # 968,066 live ones published (its second HIA block is never called), and 3 x 8 temperatures
        "fusion": 968_066 + 24,
        "head": head,
    }
    found = {
        part: sum(parameter.numel() for parameter in module.parameters())
        for part, module in on_paper.core.named_children()
    }
    assert found == expected
    assert (found["encoder"] + head) / 1e6 == pytest.approx(44.60, abs=0.005)


def test_fusion_costs_what_is_published_less_what_is_rearranged(macs: dict[str, int]) -> None:
    stems, dense_blocks, decoder = 2 * 9 * 64, 794_624, 92_448
    bridges = 64 * 64 // 4**2 + 128 * 64 // 8**2
    embedding, gram, apply = 3 * 64 * 128, 3 * 64 * 64, 2 * 128 * 64
    a_pixel = stems + dense_blocks + decoder + bridges + 2 * (embedding + gram + apply)
    # once an image and HIA stage: 10 products with matrices of at most 64 x 64
    assert 0 < macs["fusion"] - PIXELS * a_pixel <= 2 * 10 * 64**3

    bridges_after_upsampling, plain_attention = 64 * 64 + 128 * 64, 69_120
    published = stems + dense_blocks + decoder + bridges_after_upsampling + 2 * plain_attention
    assert 2 * PIXELS * published / 1e9 == pytest.approx(638.21, abs=0.005)


def test_bridge_runs_two_stages_and_the_mask_all_four(macs: dict[str, int]) -> None:
    stages = [_stage_macs(*stage) for stage in STAGES]
    assert macs["encoder"] == sum(stages[:2]) + sum(stages)
    assert 2 * sum(stages[:2]) / 1e9 == pytest.approx(21.09, abs=0.005)

    # the published encoder also computes an image classifier that nobody reads
    dead = KEYS * 512 * CLASSES
    assert 2 * (sum(stages) + macs["head"] + dead) / 1e9 == pytest.approx(100.15, abs=0.005)


def _noise() -> tuple[Tensor, Tensor]:
    return torch.rand(1, 64, 96, 3), torch.rand(1, 64, 96)


def _gradients(module: nn.Module) -> Iterator[tuple[str, Tensor | None]]:
    return ((name, parameter.grad) for name, parameter in module.named_parameters())


def _stage_macs(width: int, blocks: int, stride: int, patch: int, before: int) -> int:
    tokens = PIXELS // stride**2
    reduction = tokens * width**2 if stride < 32 else 0  # every pixel is read once
    attention = 2 * tokens * width**2 + reduction + 2 * KEYS * width**2 + 2 * tokens * KEYS * width
    feed_forward = 2 * tokens * 4 * width**2 + tokens * 9 * 4 * width
    return tokens * patch**2 * before * width + blocks * (attention + feed_forward)


def _stage_parameters(width: int, blocks: int, stride: int, patch: int, before: int) -> int:
    factor = 32 // stride
    norm = 2 * width
    reduction = factor**2 * width**2 + width + norm if factor > 1 else 0
    attention = 4 * (width**2 + width) + reduction
    feed_forward = 2 * 4 * width**2 + 5 * width + (9 + 1) * 4 * width
    patches = patch**2 * before * width + width + norm
    return patches + blocks * (2 * norm + attention + feed_forward) + norm
