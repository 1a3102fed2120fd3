"""Each metric against its formula, written out pixel by pixel and window by window."""

import math
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from segmif.metrics import (
    average_gradient,
    correlations_of_differences,
    edge_preservation,
    entropy,
    mutual_information,
    spatial_frequency,
    structural_similarity,
    visual_information_fidelity,
)

Frame = NDArray[np.uint8]
Plane = NDArray[np.float64]

HEIGHT, WIDTH = 43, 47  # odd, and hardly more than the 41 px that VIF needs


@pytest.fixture
def visible() -> Frame:
    """Waves with a corner that is one flat level."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    frame = (127 + 80 * np.sin(x / 4) * np.cos(y / 7) + (x * y) % 11).astype(np.uint8)
    frame[:12, :12] = 90
    return np.asarray(frame, np.uint8)


@pytest.fixture
def fused(visible: Frame) -> Frame:
    """The same, weaker, with noise."""
    noise = np.random.default_rng(0).normal(0, 12, visible.shape)
    return np.clip(visible * 0.7 + 40 + noise, 0, 255).astype(np.uint8)


@pytest.fixture
def infrared() -> Frame:
    """Blocks of 5x5 pixels."""
    levels = np.random.default_rng(1).integers(0, 256, (9, 10), np.uint8)
    blocks = np.kron(levels, np.ones((5, 5), np.uint8))
    return np.asarray(blocks[:HEIGHT, :WIDTH], np.uint8)


def test_entropy_and_information(visible: Frame, fused: Frame) -> None:
    pairs = list(zip(visible.ravel().tolist(), fused.ravel().tolist(), strict=True))
    count, joint = len(pairs), Counter(pairs)
    of_visible, of_fused = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    bits = -sum(n / count * math.log2(n / count) for n in of_fused.values())
    nats = sum(
        n / count * math.log(n * count / (of_visible[a] * of_fused[b]))
        for (a, b), n in joint.items()
    )
    assert entropy(fused) == pytest.approx(bits, rel=1e-12)
    assert mutual_information(visible, fused) == pytest.approx(nats, rel=1e-12)


def test_frequency_and_gradient(fused: Frame) -> None:
    level = fused.astype(float).tolist()
    rows = [(level[y][x] - level[y][x - 1]) ** 2 for y in range(HEIGHT) for x in range(1, WIDTH)]
    columns = [(level[y][x] - level[y - 1][x]) ** 2 for y in range(1, HEIGHT) for x in range(WIDTH)]
    frequency = math.sqrt(sum(rows) / len(rows) + sum(columns) / len(columns))
    assert spatial_frequency(fused) == pytest.approx(frequency, rel=1e-12)

    def slope(before: float, after: float, distance: int) -> float:
        return (after - before) / distance

    total = 0.0
    for y in range(HEIGHT):
        above, below = max(y - 1, 0), min(y + 1, HEIGHT - 1)
        for x in range(WIDTH):
            left, right = max(x - 1, 0), min(x + 1, WIDTH - 1)
            across = slope(level[y][left], level[y][right], right - left)
            down = slope(level[above][x], level[below][x], below - above)
            total += math.sqrt((across**2 + down**2) / 2)
    assert average_gradient(fused) == pytest.approx(total / (HEIGHT * WIDTH), rel=1e-12)


def test_correlations_of_differences(visible: Frame, infrared: Frame, fused: Frame) -> None:
    v, i, f = (frame.astype(float).ravel() for frame in (visible, infrared, fused))
    expected = np.corrcoef(f - v, i)[0, 1] + np.corrcoef(f - i, v)[0, 1]
    found = correlations_of_differences(visible, infrared, fused)
    assert found == pytest.approx(expected, rel=1e-12)


def test_structural_similarity(visible: Frame, fused: Frame) -> None:
    c1, c2 = 2.55**2, 7.65**2
    grades = []
    for y in range(HEIGHT - 6):
        for x in range(WIDTH - 6):
            a = visible[y : y + 7, x : x + 7].astype(float).ravel()
            b = fused[y : y + 7, x : x + 7].astype(float).ravel()
            covariance = np.cov(a, b)  # unbiased
            light = (2 * a.mean() * b.mean() + c1) / (a.mean() ** 2 + b.mean() ** 2 + c1)
            shape = (2 * covariance[0, 1] + c2) / (covariance[0, 0] + covariance[1, 1] + c2)
            grades.append(light * shape)
    assert structural_similarity(visible, fused) == pytest.approx(np.mean(grades), rel=1e-9)


def windows(plane: Plane, weights: Plane) -> Plane:
    """Weighted mean of every whole window."""
    side = len(weights)
    rows, columns = (length - side + 1 for length in plane.shape)
    means = [
        (weights * plane[y : y + side, x : x + side]).sum()
        for y in range(rows)
        for x in range(columns)
    ]
    return np.reshape(means, (rows, columns))


def test_visual_information_fidelity(visible: Frame, fused: Frame) -> None:
    reference, distorted = visible.astype(float), fused.astype(float)
    kept = held = 0.0
    for scale in range(4):
        side = 2 ** (4 - scale) + 1
        offsets = np.arange(side) - side // 2
        weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * (side / 5) ** 2))
        weights /= weights.sum()
        if scale:
            reference = windows(reference, weights)[::2, ::2]
            distorted = windows(distorted, weights)[::2, ::2]
        means = windows(reference, weights), windows(distorted, weights)
        variance = windows(reference**2, weights) - means[0] ** 2
        distorted_variance = windows(distorted**2, weights) - means[1] ** 2
        covariance = windows(reference * distorted, weights) - means[0] * means[1]
        for s, d, c in zip(
            variance.ravel(), distorted_variance.ravel(), covariance.ravel(), strict=True
        ):
            flat = s < 1e-10
            gain = 0.0 if flat or d < 1e-10 or c <= 0 else c / s
            noise = max(d - gain * c, 0.0)
            kept += 0.0 if flat else math.log2(1 + gain**2 * s / (noise + 2))
            held += 0.0 if flat else math.log2(1 + s / 2)
    assert visual_information_fidelity(visible, fused) == pytest.approx(kept / held, rel=1e-9)


def sobel(frame: Frame, y: int, x: int) -> tuple[float, float]:
    """Strength and angle of the edge at a pixel; outside the frame is black."""

    def level(row: int, column: int) -> float:
        inside = 0 <= row < HEIGHT and 0 <= column < WIDTH
        return float(frame[row, column]) if inside else 0.0

    weights = ((-1, 1), (0, 2), (1, 1))
    across = sum(w * (level(y + d, x + 1) - level(y + d, x - 1)) for d, w in weights)
    down = sum(w * (level(y + 1, x + d) - level(y - 1, x + d)) for d, w in weights)
    return math.hypot(across, down), math.atan(down / across) if across else math.pi / 2


def test_kept_edges(visible: Frame, infrared: Frame, fused: Frame) -> None:
    kept = held = 0.0
    for source in (visible, infrared):
        for y in range(HEIGHT):
            for x in range(WIDTH):
                (g, angle), (g_fused, angle_fused) = sobel(source, y, x), sobel(fused, y, x)
                ratio = min(g, g_fused) / max(g, g_fused) if max(g, g_fused) else 0.0
                aligned = 1 - abs(angle - angle_fused) / (math.pi / 2)
                strength = 0.9994 / (1 + math.exp(-15 * (ratio - 0.5)))
                direction = 0.9879 / (1 + math.exp(-22 * (aligned - 0.8)))
                kept, held = kept + g * strength * direction, held + g
    assert edge_preservation(visible, infrared, fused) == pytest.approx(kept / held, rel=1e-9)
