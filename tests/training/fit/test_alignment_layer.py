"""What training says of the offset is what the network undoes."""

import cv2
import numpy as np
import pytest
import torch

from segmif.model.alignment_layer import OffsetHead, warp_by_offset
from training.data.augmentation import Augmentation, displaced_view


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("trouble", ["misalignment", "parallax"])
def test_an_offset_moves_infrared_back(trouble: str, seed: int) -> None:
    random = np.random.default_rng(0)
    rough = random.integers(0, 255, (240, 320)).astype(np.float32)
    soft = np.asarray(cv2.GaussianBlur(rough, (0, 0), 4), np.float32)
    levels = 255 * (soft - soft.min()) / (soft.max() - soft.min())
    smooth = levels.astype(np.uint8)
    frame = (np.repeat(smooth[..., None], 3, 2), smooth, np.zeros_like(smooth))
    shares = Augmentation(**({"misalignment": 0.0, "farthest": 6} | {trouble: 1.0}))
    how = (frame, (120.0, 160.0), (96, 128), (1.0, 2.0), shares)
    (visible, infrared, _), offset = displaced_view(*how, np.random.default_rng(seed))
    shown = torch.from_numpy(infrared).float()[None, None]
    back = warp_by_offset(shown, torch.from_numpy(offset)[None], 1)[0, 0].numpy()
    inside = (slice(24, -24), slice(24, -24))
    before = np.abs(infrared.astype(float) - visible[..., 0])[inside].mean()
    after = np.abs(back - visible[..., 0])[inside].mean()
    assert before > 2 and after < 0.4 * before


def test_at_first_nothing_moves() -> None:
    features = torch.rand(2, 8, 12, 16)
    offset = OffsetHead(8, 16).eval()(torch.rand(2, 8, 6, 8))
    assert torch.allclose(warp_by_offset(features, offset, 8), features, atol=1e-5)
