"""
Training as a user runs it: on rendered scenes, stopped and resumed, ending in weights that load.
"""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from segmif.classes import IGNORE, MFNET, Taxonomy
from segmif.manifest import Manifest
from segmif.metrics import fusion_metrics
from segmif.model.blocks import upsample
from segmif.model.network import Network
from segmif.model.weights import load_network, save_network
from training.config import TrainConfig, read_config
from training.data.augmentation import Augmentation, augment_sensors, displaced_view, paste
from training.data.datasets import LabelledPair
from training.data.frames import facts_of
from training.data.samples import Phase, Samples
from training.fit import losses
from training.fit.task_balance import DynamicWeightAverage
from training.train import train

CALM = Augmentation(nightfall=0, dead_sensor=0, misalignment=0, stripes=0, blur=0, faint=0, paste=0)
TINY = TrainConfig(
    variant="nano",
    phases=(
        Phase(steps=2, batch=2, crop=(64, 64)),
        Phase(steps=3, batch=1, crop=(96, 64)),
    ),
    finish=Phase(steps=2, batch=2, crop=(64, 64)),
    warmup=2,
    save_every=2,
)


def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path: Path) -> None:
    nowhere, out = tmp_path / "no-data", tmp_path / "nano.safetensors"
    unbroken = train(TINY, nowhere, tmp_path / "a", out, resume=False)
    train(TINY, nowhere, tmp_path / "b", out, resume=False, stop=4)
    resumed = train(TINY, nowhere, tmp_path / "b", out, resume=True)
    for (name, ours), theirs in zip(
        unbroken.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, msg=name)
    # step 4 has no fusion loss of its own: what the task weights are made of must have been kept
    learners = [
        torch.load(tmp_path / run / "checkpoint.pt", weights_only=True)["learner"] for run in "ab"
    ]
    torch.testing.assert_close(learners[0]["balance.sums"], learners[1]["balance.sums"])
    assert Manifest.read(out).training["steps"] == 5
    load_network(out)


def test_nothing_to_resume_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="train without --resume"):
        train(TINY, tmp_path, tmp_path / "run", tmp_path / "n.safetensors", resume=True)


@pytest.mark.parametrize("kept", [0, 1000])  # bytes
def test_a_damaged_checkpoint_is_named(tmp_path: Path, kept: int) -> None:
    run, out = tmp_path / "run", tmp_path / "n.safetensors"
    train(TINY, tmp_path / "none", run, out, stop=1)
    checkpoint = run / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"checkpoint\.pt cannot be read \(.*\): if it is dam"):
        train(TINY, tmp_path / "none", run, out, resume=True)


def test_changed_settings_are_not_resumed(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "n.safetensors"
    train(TINY, tmp_path / "none", run, out, stop=1)
    with pytest.raises(ValueError, match="another learning_rate: resume with the same settings"):
        train(replace(TINY, learning_rate=1e-4), tmp_path / "none", run, out, resume=True)


def test_run_starts_from_weights_and_learns_from_a_teacher(tmp_path: Path) -> None:
    nowhere, first, second = (
        tmp_path / "none",
        tmp_path / "a.safetensors",
        tmp_path / "b.safetensors",
    )
    train(TINY, nowhere, tmp_path / "a", first, stop=1)
    still = replace(TINY, learning_rate=0.0, finish=None)
    train(still, nowhere, tmp_path / "b", second, start=first, teachers=[first], stop=2)
    ours, theirs = (dict(load_network(path).named_parameters()) for path in (first, second))
    for name, parameter in ours.items():
        assert torch.equal(parameter, theirs[name]), name
    noted = Manifest.read(second).training
    assert [noted["start"]] == noted["teachers"] == [Manifest.read(first).sha256]
    with pytest.raises(ValueError, match="holds nano; this run trains edge"):
        train(replace(TINY, variant="edge"), nowhere, tmp_path / "c", second, start=first)


def test_config_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('variant = "nano"\nlerning_rate = 1.0\n')
    with pytest.raises(ValueError, match=r"run\.toml: .*lerning_rate: Unexpected"):
        read_config(path)
    path.write_text('variant = "mega"')
    with pytest.raises(ValueError, match=r"run\.toml: variant is 'mega'; there are paper, edge"):
        read_config(path)
    path.write_text("# A run\nof nano")
    with pytest.raises(ValueError, match=r"run\.toml is not TOML: Expected '='"):
        read_config(path)
    with pytest.raises(FileNotFoundError, match=r"none\.toml does not exist: training/configs"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize(
    "path", sorted(Path("training/configs").glob("*.toml")), ids=lambda p: p.stem
)
def test_shipped_configs_are_valid(path: Path) -> None:
    config = read_config(path)
    assert config.steps > 0 or config.finish


def test_the_fusion_decoder_can_go_on_alone(tmp_path: Path) -> None:
    nowhere = tmp_path / "none"
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    train(TINY, nowhere, tmp_path / "a", first, stop=1)
    train(replace(TINY, phases=()), nowhere, tmp_path / "b", second, start=first)
    ours, theirs = (load_network(path).state_dict() for path in (first, second))
    changed = {name for name, value in ours.items() if not torch.equal(value, theirs[name])}
    assert changed
    assert all(name.startswith("core.fusion.") for name in changed)
    facts = [Manifest.read(path).training for path in (first, second)]
    alone = facts[1].pop("finish_alone")
    assert facts[0] == facts[1]
    assert alone["start"] == Manifest.read(first).sha256
    with pytest.raises(ValueError, match="goes on from weights: give --weights"):
        train(replace(TINY, phases=()), nowhere, tmp_path / "c", second)
    with pytest.raises(ValueError, match="nothing to do: give"):
        replace(TINY, phases=(), finish=None)


def frame(height: int = 100, width: int = 140) -> LabelledPair:
    """Visible, infrared and labels carry the same pattern, so their geometry can be compared."""
    labels = np.zeros((height, width), np.uint8)
    labels[40:70, 60:100] = 2
    return LabelledPair(
        "x", np.repeat((labels * 100)[..., None], 3, axis=2), (labels * 100).copy(), labels
    )


def test_augmentation_moves_three_arrays_alike() -> None:
    source = frame()
    for seed in range(20):
        random = np.random.default_rng(seed)
        arrays = (source.visible, source.infrared, source.labels)
        moved, _ = displaced_view(arrays, (55, 80), (64, 96), (0.7, 1.5), CALM, random)
        seen, warmth, labels = moved
        visible, infrared = augment_sensors(seen, warmth, CALM, random)
        assert visible.shape == (64, 96, 3)
        inside = labels == 2
        assert inside.any()
        # light changes, places do not: on both sensors the object stays the brighter side of the
        # same edge
        outside = labels == 0
        for image in (visible[..., 1], infrared):
            if outside.any():
                assert np.median(image[inside]) > np.median(image[outside])
                threshold = (np.median(image[inside]) + np.median(image[outside])) / 2
                agree = (image > threshold)[inside | outside] == inside[inside | outside]
                assert agree.mean() > 0.93


def test_dead_sensor_is_black_and_the_other_is_not() -> None:
    source = frame()
    shares = replace(CALM, dead_sensor=1)
    dead = set()
    for seed in range(10):
        visible, infrared = augment_sensors(
            source.visible + 50, source.infrared + 50, shares, np.random.default_rng(seed)
        )
        assert visible.any() != infrared.any()
        dead.add("infrared" if visible.any() else "visible")
    assert dead == {"visible", "infrared"}


def test_pasted_objects_bring_their_labels_and_come_dark_into_a_night() -> None:
    night = (np.full((40, 60, 3), 20, np.uint8), np.full((40, 60), 90, np.uint8))
    ground = np.full((40, 60), 1, np.uint8)
    ground[:, 50:] = IGNORE
    objects = np.zeros((40, 60), np.uint8)
    objects[10:30, 20:55] = 4
    other = (np.full((40, 60, 3), 200, np.uint8), np.full((40, 60), 170, np.uint8), objects)
    visible, infrared, labels = paste((*night, ground), other, np.random.default_rng(0))
    np.testing.assert_array_equal(labels, np.where(objects == 4, 4, ground))
    assert (infrared[11:29, 21:54] == 170).all() and (infrared[:, :18] == 90).all()
    assert (visible[:, :18] == 20).all() and visible[11:29, 21:54].mean() < 120


def test_samples_depend_on_seed_and_index_alone() -> None:
    facts = [facts_of(frame())]
    first, second = (Samples([frame()], facts, MFNET, TINY.phases[0], TINY, (3,)) for _ in range(2))
    for index in (7, 0):
        for ours, theirs in zip(first[index], second[index], strict=True):
            assert torch.equal(ours, theirs)
    assert not torch.equal(first[0][1], first[1][1])


def test_favoured_classes_are_drawn_more_often() -> None:
    labels = np.zeros((400, 400), np.uint8)
    labels[:20, :20], labels[-20:, -20:] = 1, 2  # a car, a person: never in one crop
    scene = LabelledPair(
        "x", np.zeros((400, 400, 3), np.uint8), np.zeros((400, 400), np.uint8), labels
    )

    def persons(favour: dict[str, float]) -> int:
        config = replace(TINY, focus=1.0, favour=favour, augmentation=CALM)
        samples = Samples([scene], [facts_of(scene)], MFNET, config.phases[0], config, (0,))
        return sum(bool((samples[index][2] == 2).any()) for index in range(60))

    assert 20 <= persons({}) <= 40  # 60 draws of a half: 30 give or take 2.6 deviations
    assert persons({"person": 59.0}) >= 55
    with pytest.raises(ValueError, match="favour names bus; the classes of mfnet are unlabelled, "):
        persons({"bus": 2.0})


def test_fusion_loss_prefers_what_keeps_both_sources() -> None:
    random = torch.Generator().manual_seed(0)
    visible, infrared = torch.rand(2, 1, 32, 32, generator=random)
    weights = losses.FusionWeights()

    def loss(fused: torch.Tensor) -> float:
        return float(losses.fusion(fused, visible, infrared, weights))

    assert loss(torch.maximum(visible, infrared)) < loss(torch.zeros_like(visible))
    assert loss((visible + infrared) / 2) < loss(torch.zeros_like(visible))


@pytest.mark.parametrize(("level", "enhanced"), [(0.05, True), (0.5, False)])
def test_infrared_is_as_bright_as_its_scale_says(level: float, enhanced: bool) -> None:
    visible = torch.rand(1, 32, 32, generator=torch.Generator().manual_seed(0))
    infrared = torch.full_like(visible, level)
    infrared[:, 8:16, 8:16] = 1  # something warm
    brighter = torch.maximum(visible, infrared)
    mean = (visible + infrared) / 2
    distances = [
        float(losses.intensity_distance(fused, visible, infrared))
        for fused in (brighter, mean, (mean + brighter) / 2)
    ]
    assert [distance == pytest.approx(0, abs=1e-6) for distance in distances] == (
        [True, False, False] if enhanced else [False, True, True]
    )


def test_enhanced_pairs_have_weights_of_their_own() -> None:
    visible, infrared = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    infrared[1:] *= 0.1  # two of three are dark
    fused = (visible + infrared) / 2
    grey, dark = losses.FusionWeights(), losses.FusionWeights(edge_gain=2.0)
    apart = [
        losses.fusion(fused[:1], visible[:1], infrared[:1], grey),
        losses.fusion(fused[1:], visible[1:], infrared[1:], dark),
    ]
    loss = losses.fusion_of_both_kinds(fused, visible, infrared, (grey, dark))
    torch.testing.assert_close(loss, (apart[0] + 2 * apart[1]) / 3)


def test_enhanced_infrared_is_dark_but_for_what_is_warm() -> None:
    frame = np.tile(np.linspace(70, 90, 64, dtype=np.uint8), (64, 1))
    frame[:16, :16] = 200
    shares = replace(CALM, enhanced=1.0)
    visible = np.zeros((64, 64, 3), np.uint8)
    _, infrared = augment_sensors(visible, frame.copy(), shares, np.random.default_rng(3))
    assert np.median(infrared) < np.median(frame) / 2
    assert infrared[:16, :16].mean() > 2 * np.median(infrared)


def test_losses_named_after_a_metric_are_that_metric() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 160), np.uint8)
    # In a black frame, for the metric takes what lies outside as black; all edges alike, for its
    # angles jump at level ones.
    visible = np.asarray(4 * np.pad(cv2.GaussianBlur(noise, (0, 0), 2) // 4, 2), np.uint8)
    infrared, fused = visible // 2, visible // 4 * 3
    of_loss = [torch.from_numpy(x)[None] / 255 for x in (fused, visible, infrared)]
    judged = fusion_metrics(visible, infrared, fused)
    assert losses.kept_edges(*of_loss).item() == pytest.approx(judged.Qabf, abs=1e-3)
    assert losses.correlations_of_differences(*of_loss).item() == pytest.approx(
        judged.SCD, abs=1e-3
    )


def test_edges_that_were_turned_are_not_kept() -> None:
    upright = torch.linspace(0, 30, 64).sin().expand(1, 64, 64) / 2 + 0.5
    assert losses.kept_edges(upright, upright, upright) > 0.9
    assert losses.kept_edges(upright.mT, upright, upright) < 0.1


def test_fusion_loss_of_flat_frames_has_a_gradient() -> None:
    fused = torch.full((1, 16, 16), 0.5, requires_grad=True)
    flat = torch.zeros(1, 16, 16)
    losses.fusion(fused, flat, flat, losses.FusionWeights()).backward()
    assert fused.grad is not None
    assert fused.grad.isfinite().all()


def test_mask_loss_leaves_unlabelled_pixels_out() -> None:
    logits = torch.zeros(1, 3, 4, 4, requires_grad=True)
    labels = torch.full((1, 16, 16), IGNORE, dtype=torch.uint8)
    assert losses.segmentation(logits, labels).item() == 0
    labels[0, 0, 0] = 1
    losses.segmentation(logits, labels).backward()
    assert logits.grad is not None
    assert logits.grad[0, :, 0, 0].abs().sum() > 0
    assert logits.grad[0, :, 1:].abs().sum() == 0


def test_mask_loss_is_cross_entropy_and_what_each_class_there_lacks_of_its_overlap() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, generator=random)
    labels = torch.randint(0, 2, (2, 16, 16), generator=random, dtype=torch.uint8)  # no third
    there = upsample(logits, 4)[..., ::2, ::2]
    truth, likely = labels[:, ::2, ::2].long(), there.softmax(dim=1)
    lacking = [
        1 - (2 * likely[:, k][truth == k].sum() + 1) / (likely[:, k].sum() + (truth == k).sum() + 1)
        for k in (0, 1)
    ]
    expected = torch.nn.functional.cross_entropy(there, truth) + sum(lacking) / 2
    torch.testing.assert_close(losses.segmentation(logits, labels), expected)


def test_mask_loss_draws_objects_where_they_are() -> None:
    """The masks that suit the loss best are not moved by a fraction of a pixel in the mean."""
    steps = torch.arange(4) / 2  # [px] every place that an object can have between two labels
    places = 31.5 + torch.cartesian_prod(steps, steps)
    pixels = torch.arange(64)
    down, right = (pixels - places[:, axis, None] for axis in (0, 1))
    labels = (down[:, :, None].square() + right[:, None].square() < 400).to(torch.uint8)
    logits = torch.zeros(len(places), 2, 16, 16, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(100):
        optimizer.zero_grad()
        losses.segmentation(logits, labels).backward()
        optimizer.step()
    found = upsample(logits.detach(), 4).softmax(dim=1)[:, 1]
    size = found.sum(dim=(1, 2))
    for distance, axis in ((down, 2), (right, 1)):
        moved = (found.sum(dim=axis) * distance).sum(dim=1) / size
        assert moved.mean() == pytest.approx(0, abs=0.05)


def test_task_that_stalls_gets_more_weight() -> None:
    balance = DynamicWeightAverage(window=2)
    # the published temperature of 1000 leaves nothing of it
    published = DynamicWeightAverage(window=2, temperature=1000)
    for step, fusion in enumerate((1.0, 1.0, 0.5, 0.5)):
        for each in (balance, published):
            each.observe(step, torch.tensor(fusion), torch.tensor(1.0))
    first, second = balance.weights.tolist()
    assert second > first
    assert first + second == pytest.approx(2)
    assert published.weights.tolist() == pytest.approx((1, 1), abs=1e-3)


def test_run_that_no_longer_improves_ends_with_its_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[dict[str, torch.Tensor]] = []
    scores = iter([0.2, 0.1, 0.3, 0.2, 0.25, 0.9])

    def validate(network: torch.nn.Module, *_: object) -> float:
        judged.append({name: value.clone() for name, value in network.state_dict().items()})
        return next(scores)

    monkeypatch.setattr("training.train.validate", validate)
    config = replace(TINY, validate_every=1, patience=2, finish=None)
    out = tmp_path / "n.safetensors"
    best = train(config, tmp_path / "none", tmp_path / "run", out)
    assert len(judged) == 5
    for name, value in best.state_dict().items():
        assert torch.equal(value, judged[2][name]), name
    assert Manifest.read(out).training["steps"] == 4


def test_run_that_only_loses_ends_with_what_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = tmp_path / "start.safetensors"
    save_network(Network("nano", MFNET), start, {})
    scores = iter([0.3, 0.2, 0.1])
    monkeypatch.setattr("training.train.validate", lambda *_: next(scores))
    config = replace(TINY, validate_every=1, patience=2, finish=None)
    out = tmp_path / "n.safetensors"
    best = train(config, tmp_path / "none", tmp_path / "run", out, start=start)
    for name, value in load_network(start).state_dict().items():
        assert torch.equal(value, best.state_dict()[name]), name


def test_own_classes_travel_with_the_weights(tmp_path: Path) -> None:
    classes = Taxonomy("yard", ("ground", "forklift"), ((0, 0, 0), (255, 128, 0)))
    path = tmp_path / "yard.safetensors"
    save_network(Network("nano", classes), path, {})
    assert Manifest.read(path).classes == classes
    assert load_network(path).config.taxonomy == classes
