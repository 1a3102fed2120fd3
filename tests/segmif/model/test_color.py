"""The colour of a fused frame: chroma of visible, luma of the fusion, a hue for temperature."""

import numpy as np
import pytest
import torch
from torch import Tensor

from segmif.frames import DEFAULT_TINT
from segmif.imaging.luma import luma as luma_of_bytes
from segmif.model.color import COLDEST, WARMEST, attach_chroma, luma, tinted, warmth
from segmif.model.network import Network
from segmif.thermal.surroundings import OUTLIER, warmest_ordinary

WARM, COLD = (slice(None), slice(8, 16), slice(8, 16)), (slice(None), slice(20, 28), slice(4, 30))


def scene(texture: float = 0.01) -> Tensor:
    """Infrared (1, 64, 64) in [0, 1]: ordinary ground with a warm and a cold thing."""
    random = torch.Generator().manual_seed(5)
    infrared = 0.4 + texture * torch.randn(1, 64, 64, generator=random).clamp(-3, 3)
    infrared[WARM], infrared[COLD] = 0.8, 0.2
    return infrared


def test_chroma_is_that_of_the_visible_frame() -> None:
    rgb = torch.tensor([0.3, 0.5, 0.4]).expand(1, 2, 2, 3)
    fused = attach_chroma(torch.full((1, 2, 2), 0.6), rgb)
    torch.testing.assert_close(luma(fused), torch.full((1, 2, 2), 0.6))
    torch.testing.assert_close(fused[..., 0] - fused[..., 1], rgb[..., 0] - rgb[..., 1])


def test_warm_things_are_warm_and_noise_is_not() -> None:
    warm = warmth(scene())
    assert warm[WARM].min() > 1 > -1 > warm[COLD].max()
    assert warm.min() >= COLDEST and warm.max() <= WARMEST
    ordinary = torch.ones(1, 64, 64, dtype=torch.bool)
    ordinary[WARM] = ordinary[COLD] = False
    assert (warm[ordinary] == 0).float().mean() > 0.9


def test_what_is_large_does_not_stand_out() -> None:
    street = torch.full((1, 256, 320), 0.4)
    street[:, :96] = 0.1  # the sky
    street[:, 160:] = 0.7  # a road in the sun
    assert not warmth(street).any()
    street[:, 120:150, 40:56] = 0.9  # somebody on the pavement
    street[:, 200:230, 200:216] = 0.95  # and on the road
    marked = warmth(street) != 0
    assert marked[:, 120:150, 40:56].all() and marked[:, 200:230, 200:216].all()
    assert marked.float().mean() < 0.02


def test_who_looks_for_warm_things_has_the_same_rule() -> None:
    infrared = np.random.default_rng(2).normal(90, 12, (192, 256)).clip(0, 255).astype(np.uint8)
    infrared[:64], infrared[40:70, 40:50], infrared[:, :30] = 160, 220, 0  # a roof, a cat, no data
    ordinary, warmest = warmest_ordinary(infrared)
    ours, hue = infrared > warmest, warmth(torch.from_numpy(infrared)[None] / 255)[0].numpy() > 0
    assert (ours == hue).mean() > 0.999 and ours[41:69, 41:49].all() and not ours[:30].any()
    assert 150 < ordinary[20, 100] < 170


def test_the_gain_of_a_sensor_changes_nothing() -> None:
    infrared = scene(texture=0.08)
    torch.testing.assert_close(warmth(0.2 + 0.75 * infrared), warmth(infrared), rtol=0, atol=1e-4)


def test_a_warm_thing_that_comes_in_does_not_make_all_else_cold() -> None:
    infrared = scene(texture=0.08)
    before = warmth(infrared)
    infrared[:, 48:, :8] = 1
    elsewhere = (warmth(infrared) - before)[:, :48]
    # a thirty-second of the frame counts OUTLIER deviations at most, in mean and deviation
    assert elsewhere.abs().mean() < 2 * OUTLIER / 32


def test_what_no_sensor_looks_at_says_nothing_and_counts_for_nothing() -> None:
    assert not warmth(torch.zeros(1, 32, 32)).any()
    assert not warmth(torch.full((1, 32, 32), 0.7)).any()
    bordered = torch.zeros(1, 192, 192)  # as a rig leaves it, whose infrared camera sees less
    bordered[:, 40:104, 24:88] = scene()
    found = warmth(bordered)
    seen = torch.zeros(1, 192, 192, dtype=torch.bool)
    seen[:, 40:104, 24:88] = True
    assert not found[~seen].any()
    inside = found[seen].view(1, 64, 64)
    assert inside[WARM].min() > 1 > -1 > inside[COLD].max()
    assert (inside != 0).float().mean() < (warmth(scene()) != 0).float().mean() + 0.02


@pytest.mark.parametrize("shift", [-40.0, 0.0, 60.0])
def test_a_hue_leaves_the_luma_to_the_level(shift: float) -> None:
    random = torch.Generator().manual_seed(3)
    levels = torch.randint(0, 256, (1, 64, 64, 3), generator=random).float()
    turned = tinted(levels, torch.full((1, 64, 64), shift))
    assert torch.equal(turned, turned.round())
    given, kept = (luma_of_bytes(each.numpy().astype(np.uint8)) for each in (turned, levels))
    # green ends at 0 and 255: few pixels have no room for a last level
    assert (given == kept).mean() > 0.99
    assert np.abs(given.astype(int) - kept).max() <= 1
    change = (turned - levels).mean(dim=(0, 1, 2))
    assert np.sign(shift) == np.sign(round(float(change[0]))) == -np.sign(round(float(change[2])))


def test_a_network_turns_warm_things_orange_and_leaves_their_luma() -> None:
    torch.manual_seed(0)
    network = Network("nano").eval()
    visible = torch.full((1, 64, 64, 3), 120, dtype=torch.uint8)
    infrared = (scene() * 255).to(torch.uint8)
    tint = torch.tensor([DEFAULT_TINT])
    with torch.no_grad():
        fused, labels, _ = network(visible, infrared)
        given, _, _ = network(visible, infrared, tint)
        plain, same, _ = network(visible, infrared, 0 * tint)
    assert torch.equal(fused, given)
    assert torch.equal(labels, same)
    assert np.array_equal(luma_of_bytes(fused.numpy()), luma_of_bytes(plain.numpy()))
    change = fused.int() - plain.int()
    assert change[WARM][..., 0].min() > 10 and change[WARM][..., 2].max() < -10  # orange
    assert change[COLD][..., 0].max() < -5 and change[COLD][..., 2].min() > 5  # blue


def test_without_a_tint_the_visible_colour_stays_to_the_level() -> None:
    torch.manual_seed(0)
    network = Network("nano").eval()
    random = torch.Generator().manual_seed(3)
    visible = torch.randint(60, 196, (2, 64, 64, 3), generator=random, dtype=torch.uint8)
    infrared = (scene() * 255).to(torch.uint8).repeat(2, 1, 1)
    with torch.no_grad():
        fused, _, _ = network(visible, infrared, torch.tensor([0.0, 1.0]))
        fused_luma, _ = network.predict(visible / 255, infrared / 255)
    expected = (attach_chroma(fused_luma, visible / 255) * 255).round().to(torch.uint8)
    assert torch.equal(fused[0], expected[0])
    assert not torch.equal(fused[1], expected[1])
    kept = ((expected[0] > 0) & (expected[0] < 255)).all(dim=-1)  # no channel was at its end
    moved = fused[0].int() - visible[0].int()
    assert kept.any()
    assert (moved[kept].amax(dim=-1) - moved[kept].amin(dim=-1)).max() <= 1  # of rounding


@pytest.mark.parametrize("value", [-0.5, 1.5])
def test_a_tint_beyond_its_range_counts_as_the_end_of_it(value: float) -> None:
    torch.manual_seed(0)
    network = Network("nano").eval()
    pair = torch.full((1, 64, 64, 3), 120, dtype=torch.uint8), (scene() * 255).to(torch.uint8)
    with torch.no_grad():
        beyond, end = (network(*pair, torch.tensor([t]))[0] for t in (value, min(max(value, 0), 1)))
    assert torch.equal(beyond, end)
