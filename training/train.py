"""
`python -m training train`: pairs in, `weights/VARIANT.safetensors` out.

Reads from top to bottom: data, network, optimiser, loop, weights. A run keeps its checkpoint and
its TensorBoard curves in a folder of its own and goes on from there when called again with
--resume.
"""

import argparse
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from segmif.classes import TAXONOMIES
from segmif.manifest import sha256
from segmif.metrics import ConfusionMatrix
from segmif.model.color import luma
from segmif.model.network import Network
from segmif.model.weights import load_network, save_network
from training import data, losses
from training.config import TrainConfig, read_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `python -m training train`."""
    parser.add_argument("--config", type=Path, required=True, help="settings of the run, TOML")
    parser.add_argument(
        "--data",
        type=Path,
        default=data.data_root(),
        help="real frames; rendered scenes where there is no such folder",
    )
    parser.add_argument("--out", type=Path, help="weights to write [weights/VARIANT.safetensors]")
    parser.add_argument("--run", type=Path, help="checkpoint and curves [runs/CONFIG]")
    parser.add_argument("--start", type=Path, help="weights of this variant to start from")
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    parser.add_argument("--steps", type=int, help="stop here instead of where the config says")


def main(args: argparse.Namespace) -> int:
    """Trains as the arguments say; returns the exit code."""
    config = read_config(args.config)
    run = args.run or Path("runs") / args.config.stem
    out = args.out or Path("weights") / f"{config.variant}.safetensors"
    train(config, args.data, run, out, start=args.start, resume=args.resume, stop=args.steps)
    return 0


def train(
    config: TrainConfig,
    root: Path,
    run: Path,
    out: Path,
    *,
    start: Path | None = None,
    resume: bool,
    stop: int | None = None,
) -> Network:
    """Runs the whole training and writes the averaged network to `out`; gives it back."""
    checkpoint = run / "checkpoint.pt"
    if resume and not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint} does not exist: train without --resume to start")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)
    frames = data.read_training_frames(root)
    print(f"{len(frames)} pairs of {root}" if root.is_dir() else f"no {root}: rendered scenes")
    weights = losses.class_weights(data.class_shares(frames)).to(device)

    # channels_last is the layout that both cuDNN and oneDNN convolve fastest in
    network = first_network(config.variant, start).to(device).train()
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in its stub
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.average))
    averaged = cast(Network, average.module)
    optimizer = torch.optim.AdamW(parameter_groups(network, config.weight_decay))
    balance = losses.TaskBalance()
    first = restore(checkpoint, network, average, optimizer, balance) if resume else 0

    stop = min(stop or config.steps, config.steps)
    batches = data.batches(frames, config, first, stop)
    writer = SummaryWriter(run, purge_step=first)
    progress = tqdm(batches, initial=first, total=stop, desc=config.variant, unit="step")
    for step, batch in enumerate(progress, start=first):
        set_learning_rate(optimizer, step, config)
        visible, infrared, labels = (array.to(device) for array in batch)
        visible, infrared = visible / 255, infrared / 255
        fused, logits = network.predict(visible, infrared)
        segmentation = losses.segmentation(logits, labels, weights)
        total = balance.weights[1] * segmentation
        fusion = None
        if step % config.fuse_every == 0:
            fusion = losses.fusion(fused, luma(visible), infrared, config.fusion)
            total = total + balance.weights[0] * fusion
        if not total.isfinite():
            raise FloatingPointError(f"the loss of step {step} is {total.item()}")
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip_norm)
        optimizer.step()
        average.update_parameters(network)
        balance.update(None if fusion is None else fusion.item(), segmentation.item())

        if step % 20 == 0:
            progress.set_postfix(fusion=f"{balance.fusion:.3f}", mask=f"{segmentation:.3f}")
            record(writer, step, segmentation, balance)
        if (step + 1) % config.save_every == 0 or step + 1 == stop:
            save(checkpoint, step + 1, network, average, optimizer, balance)
        if (step + 1) % config.validate_every == 0:
            mean_iou = validate(averaged, root / "mfnet" / "val", device)
            writer.add_scalar("mask/val_mean_iou", mean_iou, step + 1)
            progress.write(f"step {step + 1}: mIoU on mfnet/val {mean_iou:.3f}")
    writer.close()
    finish_fusion(averaged, frames, config)
    facts = {"steps": stop, "frames": len(frames), **asdict(config)}
    save_network(averaged, out, facts | ({"start": sha256(start)} if start else {}))
    return averaged


def first_network(variant: str, start: Path | None) -> Network:
    """A new network, or that of a weights file; ValueError where the file holds another variant."""
    if start is None:
        return Network(variant)
    network = load_network(start)
    if network.variant != variant:
        raise ValueError(f"{start} holds {network.variant}; the config trains {variant}")
    return network


def parameter_groups(network: Network, weight_decay: float) -> list[dict[str, object]]:
    """Weight decay for what multiplies features, none for biases, norms and temperatures."""
    decayed = [p for name, p in network.named_parameters() if p.ndim > 1 and not _is_stacked(name)]
    ids = {id(p) for p in decayed}
    rest = [p for p in network.parameters() if id(p) not in ids]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]


def _is_stacked(name: str) -> bool:
    """HIA keeps the biases, norms and temperatures of its streams as rows of one matrix."""
    return name.endswith(("embed_bias", "out_bias", "norm_weight", "norm_bias", "temperature"))


def set_learning_rate(optimizer: torch.optim.Optimizer, step: int, config: TrainConfig) -> None:
    """Linear warm-up, then half a cosine down to nothing at the last step."""
    done = (step - config.warmup) / max(config.steps - config.warmup, 1)
    cosine = 0.5 * (1 + math.cos(math.pi * max(done, 0)))
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * min((step + 1) / config.warmup, cosine)


def record(
    writer: SummaryWriter,
    step: int,
    segmentation: Tensor,
    balance: losses.TaskBalance,
) -> None:
    """One point of every curve."""
    writer.add_scalar("fusion/loss", balance.fusion, step)
    writer.add_scalar("mask/loss", segmentation.item(), step)
    writer.add_scalar("fusion/task_weight", balance.weights[0], step)
    writer.add_scalar("mask/task_weight", balance.weights[1], step)


def save(
    path: Path,
    step: int,
    network: Network,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    balance: losses.TaskBalance,
) -> None:
    """All that the next step depends on; the file is replaced at once, never half-written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        "step": step,
        "network": network.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "balance": asdict(balance),
    }
    beside = path.with_suffix(".new")
    torch.save(state, beside)
    beside.replace(path)


def restore(
    path: Path,
    network: Network,
    average: AveragedModel,
    optimizer: torch.optim.Optimizer,
    balance: losses.TaskBalance,
) -> int:
    """Puts everything back as `save` found it; gives the step to go on with."""
    state = torch.load(path, weights_only=True)
    network.load_state_dict(state["network"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    for name, value in state["balance"].items():
        setattr(balance, name, value)
    return int(state["step"])


def finish_fusion(network: Network, frames: list[data.Labelled], config: TrainConfig) -> None:
    """
    Trains the fusion decoder alone: what it reads no longer moves, and the mask stays as it is.

    Next to the mask's loss it never settles (docs/decisions/0004).
    """
    finish = config.finish
    if finish is None:
        return
    device = next(network.parameters()).device
    decoder = network.get_submodule("core.fusion")
    network.requires_grad_(False).eval()
    decoder.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(decoder.parameters(), config.learning_rate, weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, finish.steps)
    fresh = replace(config, phases=(finish,), seed=config.seed + 1)
    batches = data.batches(frames, fresh, 0, finish.steps)
    for batch in tqdm(batches, total=finish.steps, desc="fusion decoder", unit="step"):
        visible, infrared = (array.to(device) / 255 for array in batch[:2])
        fused, _ = network.predict(visible, infrared)
        optimizer.zero_grad(set_to_none=True)
        losses.fusion(fused, luma(visible), infrared, config.fusion).backward()
        optimizer.step()
        schedule.step()
    network.requires_grad_(True).eval()


@torch.no_grad()
def validate(network: Network, folder: Path, device: torch.device) -> float:
    """mIoU of a network over all ids on a labelled folder; NaN where there is no such folder."""
    if not folder.is_dir():
        return math.nan
    network.eval()
    confusion = ConfusionMatrix.empty(len(TAXONOMIES[network.config.taxonomy].names))
    for frame in data.read_folder(folder):
        _, labels = network(
            torch.from_numpy(frame.visible)[None].to(device),
            torch.from_numpy(frame.infrared)[None].to(device),
        )
        confusion = confusion.add(labels[0].cpu().numpy(), frame.labels)
    return confusion.mean_iou
