"""
`segmif train`: pairs in, `runs/CONFIG/VARIANT.safetensors` out.

Reads from top to bottom: data, network, optimiser, loop, weights. A run keeps its settings, its
checkpoint and its TensorBoard curves in a folder of its own and goes on from there when called
again with --resume. On several GPUs: `torchrun --nproc-per-node N -m training train ...`.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from segmif.manifest import Manifest
from segmif.model.network import Network
from segmif.model.weights import save_network
from segmif.spared_inputs import check_spared

from .config import TrainConfig, read_config
from .data import groups_seen
from .data.datasets import FrameSet
from .data.frames import Frames, common_taxonomy
from .data.samples import batches, check_draws
from .data.sources import named_root, training_sets
from .fit import imagenet
from .fit.attention_kernels import use_kernels
from .fit.devices import copy_from_first, open_devices, with_common_norms
from .fit.early_stopping import EarlyStopping
from .fit.frozen_features import FrozenFeatures, MaskLearner, learns_mask_alone
from .fit.fusion_phase import train_fusion_decoder
from .fit.initial_network import descent, digest, initial_network, notes_on_classes, open_teachers
from .fit.run_folder import (
    BEST,
    CHECKPOINT,
    FINISH,
    RECORD_EVERY,
    Run,
    finite,
    refuse_earlier_run,
)
from .fit.run_inputs import Inputs, resumed
from .fit.start_blend import blend, tensors_at_start
from .fit.step import Learner, Moved, parameter_groups, set_learning_rate, take_step
from .fit.throughput import Throughput
from .fit.validation import open_validation, validate

RENDERED = "rendered scenes"  # the data of a run without real frames


def main(args: argparse.Namespace) -> int:
    """Trains as the arguments say; returns the exit code."""
    config = read_config(args.config)
    if args.leave_out:
        config = replace(config, leave_out=args.leave_out)
    folder = args.folder or Path("runs") / run_name(args.config, config.leave_out)
    if not (args.resume or args.restart):
        refuse_earlier_run(folder)
    if args.kernels:
        args.precision = use_kernels(args.kernels, args.precision)
    train(
        config,
        named_root(args.data),
        folder,
        args.out or folder / f"{config.variant}.safetensors",
        start=args.weights,
        teachers=args.teacher,
        resume=args.resume,
        stop=args.steps,
        precision=args.precision,
        accept_changes=args.accept_changed_inputs,
    )
    return 0


def train(
    config: TrainConfig,
    root: Path,
    folder: Path,
    out: Path,
    *,
    start: Path | None = None,
    teachers: Sequence[Path] = (),
    resume: bool = False,
    stop: int | None = None,
    precision: str | None = None,
    accept_changes: bool = False,
    change: Callable[[Network], Mapping[str, object] | None] | None = None,
    view: Callable[[FrameSet], FrameSet] | None = None,
) -> Network:
    """
    Runs the whole training and writes the averaged network to `out`; gives it back.

    For experiments: `change` makes another network of the variant before it learns, and gives the
    descent of weights that it puts in; `view` makes other frames of the data.
    """
    if not config.phases and not start:
        raise ValueError("a run of [finish] alone goes on from weights: give --weights")
    check_writable(folder, out)
    check_spared([out], [*([start] if start else []), *teachers])
    start_digest = digest(start) if start else None
    teacher_digests = tuple(map(digest, teachers))
    fabric = open_devices(precision)
    run = Run(folder, asdict(config), fabric)
    if resume:
        run.check_resumable(CHECKPOINT if config.phases else FINISH)
    fabric.seed_everything(config.seed, verbose=False)
    stop = min(stop or config.steps, config.steps)
    frames, validation, validation_digests = gather(config, root, stop, view)
    inputs = Inputs(frames.digests, validation_digests, start_digest, teacher_digests)
    if resume:
        inputs = resumed(Inputs.of_run(folder), inputs, folder, accept=accept_changes)
    network, transfer = initial_network(
        config.variant, frames.taxonomy, start, trains_mask=bool(config.phases)
    )
    teacher_networks = open_teachers(teachers, fabric)
    class_notes, class_facts = notes_on_classes(start, transfer, teacher_networks, frames.taxonomy)
    source = root if root.is_dir() else RENDERED
    notes = [f"note: {remark}" for remark in (*frames.remarks, *class_notes)]
    fabric.print("\n".join([f"{len(frames)} pairs of {source}", *notes]))
    if not start and not resume:
        imagenet.start_pretrained(network)
    at_start = tensors_at_start(network, config.start_share, start, transfer)
    imagenet.freeze(network, config.frozen_stages)
    changed = change(network) if change else None
    data = [each.folder for each in config.data] if root.is_dir() else [RENDERED]
    parents = [Manifest.read(path).training for path in (start, *teachers) if path]
    pretrained = {} if inputs.start else imagenet.origin(network)
    parents += [dict(record) for record in (pretrained, changed, inputs.descent) if record]
    inputs = replace(
        inputs,
        classes=class_facts | dict(inputs.classes),
        descent=descent(data, parents, groups_seen.of_names(frames.names)),
    )
    run.begin(inputs, anew=not resume)
    session = Session.open(config, fabric, run, frames, network, teacher_networks)
    session.validation = validation
    first = run.restore(session.state)["step"] if resume and config.phases else 0
    steps = learn(session, first, stop)

    session.early_stopping.restore_best(session.averaged)
    blend(session.averaged, at_start, config.start_share)
    train_fusion_decoder(run, session.averaged, frames, config, steps, resume=resume)
    copy_from_first(session.averaged, fabric)
    if fabric.is_global_zero:
        done = {"steps": steps, "frames": len(frames), **asdict(config)}
        facts = history(done | inputs.weights | dict(inputs.classes), config, start)
        save_network(session.averaged, out, facts | dict(inputs.descent))
    fabric.barrier()
    return session.averaged


def run_name(config: Path, leave_out: int | None) -> str:
    """The folder of a run under `runs`: a run without a group is another run."""
    return f"{config.stem}-without-{leave_out}" if leave_out else config.stem


def history(facts: dict[str, Any], config: TrainConfig, start: Path | None) -> dict[str, Any]:
    """How weights came to be; a run of [finish] alone leaves all but the decoder as it was."""
    if start and not config.phases:
        return Manifest.read(start).training | {"finish_alone": facts}
    return facts


def gather(
    config: TrainConfig, root: Path, stop: int, view: Callable[[FrameSet], FrameSet] | None
) -> tuple[Frames, FrameSet | None, dict[str, str]]:
    """
    The frames to train on, those to evaluate on and the digests of the latter; all are read once.

    Raises what opening them raises, ValueError if one is broken or the labels teach nothing.
    """
    sets = training_sets(config, root)
    sets = [view(each) for each in sets] if view else sets
    trained_on = {(source.kind, source.folder, source.split) for source in config.data}
    held_out = config.validation
    validation, validation_digests = open_validation(
        config,
        root,
        common_taxonomy(sets),
        stop,
        view,
        of_same_set=(held_out.kind, held_out.folder, held_out.split) in trained_on,
    )
    frames = Frames(sets)
    check_draws(frames, config)
    return frames, validation, validation_digests


@dataclass
class Session:
    """All that a run works with."""

    config: TrainConfig
    fabric: Fabric
    run: Run
    frames: Frames
    learner: Moved
    wrapped: Any  # the learner as Fabric runs it
    optimizer: torch.optim.Optimizer
    average: AveragedModel
    early_stopping: EarlyStopping
    teachers: Sequence[Network] = ()
    validation: FrameSet | None = None
    features: FrozenFeatures | None = None  # if the mask alone learns, of views that come again

    @classmethod
    def open(
        cls,
        config: TrainConfig,
        fabric: Fabric,
        run: Run,
        frames: Frames,
        network: Network,
        teachers: Sequence[Network] = (),
    ) -> "Session":
        """Optimiser, running average and task weights around a network."""
        learner: Moved = Learner(network, config)
        features = None
        alone = not teachers and fabric.world_size == 1
        if config.views and alone and not config.align and learns_mask_alone(network):
            features = FrozenFeatures(network, frames, config, fabric.device, fabric.autocast)
            learner = MaskLearner(network, config, lambda: features.shape)
        optimizer = torch.optim.AdamW(parameter_groups(learner))
        wrapped, optimizer = fabric.setup(with_common_norms(learner, fabric), optimizer)
        average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.average))
        early_stopping = EarlyStopping(config.patience, run.folder / BEST, fabric)
        return cls(
            config,
            fabric,
            run,
            frames,
            learner,
            wrapped,
            optimizer,
            average,
            early_stopping,
            teachers,
            features=features,
        )

    @property
    def averaged(self) -> Network:
        """The network that is evaluated and saved."""
        return cast(Network, self.average.module)

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint holds, besides the step."""
        state = {
            "learner": self.learner,
            "average": self.average,
            "optimizer": self.optimizer,
            "choice": self.early_stopping,
        }
        precision = self.fabric.strategy.precision
        # only that of float16 has any: the factor by which its losses are scaled
        return state | ({"precision": precision} if precision.state_dict() else {})


def learn(session: Session, first: int, stop: int) -> int:
    """Trains the steps first .. stop - 1, fewer with early stopping; returns how many are done."""
    if first >= stop or session.early_stopping.exhausted:
        return first
    config, fabric, run = session.config, session.fabric, session.run
    throughput = Throughput(drawn_batches(session, first, stop), fabric.world_size)
    run.open_curves(first)
    validate_start(session, first)
    quiet = not fabric.is_global_zero
    bar = tqdm(throughput, config.variant, initial=first, total=stop, unit="step", disable=quiet)
    done = first
    for done, batch in enumerate(bar, start=first + 1):
        step = done - 1
        seed_step(config.seed, step, fabric.global_rank)
        set_learning_rate(session.optimizer, step, config.steps, config)
        parts = take_step(
            fabric, session.wrapped, session.optimizer, batch, step, config, session.teachers
        )
        session.average.update_parameters(session.learner.network)
        if step % RECORD_EVERY == 0:
            bar.set_postfix(record(session, step, parts))
        if done % config.validate_every == 0:
            # at `step`, the last one done: a run resumed from here hides what comes after it
            bar.write(f"step {done}: {validated(session, step)}")
        if done % config.save_every == 0 or done == stop or session.early_stopping.exhausted:
            finite(parts, step)
            run.save(session.state | {"step": done})
        if session.early_stopping.exhausted:
            break
    run.close()
    if session.features:
        fabric.print(f"{session.features.computed} views went through the frozen layers")
    fabric.print(throughput)
    return done


def validate_start(session: Session, first: int) -> None:
    """With early stopping, the network before its first step counts: no run ends worse than it."""
    if not first and session.config.patience is not None:
        session.fabric.print(f"before the first step: {validated(session, 0)}")


def validated(session: Session, step: int) -> str:
    """Evaluates the network of a step on the validation frames, for early stopping; says how."""
    score = validate(session.averaged, session.validation, session.run, step)
    score = session.fabric.broadcast(score)  # or devices might disagree on when to stop
    session.early_stopping.observe(score, session.averaged)
    return f"mIoU on the validation frames {score:.3f}"


def drawn_batches(session: Session, first: int, stop: int) -> Iterable[list[Tensor]]:
    """The batches of the steps first .. stop - 1, as the learner takes them."""
    if session.features:
        return session.features.batches(first, stop)
    share = (session.fabric.global_rank, session.fabric.world_size)
    return batches(session.frames, session.config, first, stop, share)


def seed_step(seed: int, step: int, device: int) -> None:
    """What a step draws (dropout) follows from its number, so a resumed run draws the same."""
    (state,) = np.random.SeedSequence((seed, step, device)).generate_state(1, np.uint64)
    torch.manual_seed(int(state))


def record(session: Session, step: int, parts: dict[str, Tensor]) -> dict[str, str]:
    """One point of every curve; gives the losses as the progress bar shows them."""
    values = finite(parts, step)
    fusion, mask = session.learner.balance.weights.tolist()
    tasks = {"task_weight/fusion": fusion, "task_weight/mask": mask}
    session.run.record(step, {f"loss/{name}": value for name, value in values.items()} | tasks)
    return {name: f"{value:.3f}" for name, value in values.items()}


def check_writable(folder: Path, out: Path) -> None:
    """OSError, hours before they come, if the run's own files or its weights cannot lie."""
    for path, advice in (
        (folder, "--folder names a folder that you may write, or a new one"),
        (out.parent, "--out names a file, in a folder that you may write"),
    ):
        existing = next(each for each in (path, *path.parents) if each.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise OSError(f"{path} cannot be written: {advice}")
    if out.is_dir():
        raise OSError(f"{out} cannot be written: --out names a file, this is a folder")
