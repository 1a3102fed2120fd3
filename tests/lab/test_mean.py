"""The mean of networks."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch

from lab import mean
from segmif.classes import MFNET
from segmif.manifest import Manifest, sha256
from segmif.model.network import Network
from segmif.model.weights import load_network, save_network


def test_mean_weighs_every_number_and_names_its_parts(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.safetensors", "b.safetensors")]
    for seed, file in enumerate(files):
        torch.manual_seed(seed)
        frames = {"descends_from": ["MFNet", f"frames {seed}"], "commercial_use": f"no {seed}"}
        seen = {"groups_seen": {"groups": [seed + 1], "complete": True}}
        save_network(Network("nano", MFNET), file, {"seed": seed} | frames | seen)
    out = tmp_path / "mean.safetensors"
    assert mean.main(Namespace(weights=files, shares=[0.25, 0.75], out=out)) == 0
    first, second, both = (load_network(file).state_dict() for file in (*files, out))
    for name, tensor in both.items():
        expected = 0.25 * first[name] + 0.75 * second[name]
        torch.testing.assert_close(tensor, expected.to(tensor.dtype))
    noted = Manifest.read(out).training
    assert noted["seed"] == 1
    assert noted["descends_from"] == ["MFNet", "frames 0", "frames 1"]
    assert noted["commercial_use"] == "no 0; no 1"
    assert noted["groups_seen"] == {"groups": [1, 2], "complete": True}
    shares = [{"share": s, "sha256": sha256(f)} for s, f in zip((0.25, 0.75), files, strict=True)]
    assert noted["mean_of"] == shares
    with pytest.raises(ValueError, match=r"shares are \[0\.5, 0\.6\]: 2 with the sum 1 expected"):
        mean.main(Namespace(weights=files, shares=[0.5, 0.6], out=out))
