"""
`edge` and `nano`: one pretrained encoder for both sensors, stacked in the batch; HIA at stride 8.

    visible, infrared -> one encoder (strides 2 to 32), infrared behind visible in the batch
    both at strides 8, 16, 32 -> semantic pyramid (stride 8)
    both at stride 8 -> two streams; streams, pyramid -> HIA (two stages) -> refined streams
    refined streams, pyramid, both at stride 4 -> mask
    refined streams, both at strides 4 and 2 -> fusion decoder -> a weight and a correction a pixel

In `nano` (`half_size`) the encoder reads the frames at half their size, so its strides double. Its
last two stages are left out. Two stems read the full frames for the features at stride 2.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from segmif.frames import MULTIPLE
from segmif.model.alignment_layer import OffsetHead, warp_by_offset
from segmif.model.blocks import IMAGENET_MEAN, IMAGENET_STD, ConvNormAct, upsample
from segmif.model.config import PairConfig
from segmif.model.encoders.efficientnet import WIDTHS, EfficientNetLite
from segmif.model.hia import HierarchicalInteractiveAttention

FeaturePair = tuple[Tensor, Tensor]  # of visible, of infrared

OFFSET_WIDTH = 64  # channels of the offset head
HALF_STAGES = 5  # of the encoder: the last at stride 16 of its input, 32 of the frame
CORRECTION = 0.3  # how far the decoder may leave the range of both sensors, share of full scale


class PairNetwork(nn.Module):
    """One encoder pass over both frames at once; see the module's docstring."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: PairConfig) -> None:
        super().__init__()
        width = config.stream_width
        self.half_size = config.half_size
        self.encoder = EfficientNetLite(HALF_STAGES) if self.half_size else EfficientNetLite()
        at_2, at_4, at_8 = (config.stem_width, *WIDTHS[:2]) if self.half_size else WIDTHS[:3]
        if self.half_size:
            self.visible_stem = ConvNormAct(3, at_2, stride=2, kernel=4)
            self.infrared_stem = ConvNormAct(1, at_2, stride=2, kernel=4)
        self.visible_stream = ConvNormAct(at_8, width, kernel=1)
        self.infrared_stream = ConvNormAct(at_8, width, kernel=1)
        self.pyramid = Pyramid(config)
        self.bridges = nn.ModuleList(
            nn.Conv2d(source, width, 1)
            for source in (config.encoder_widths[0], config.head_width)[-config.interactions :]
        )
        self.attentions = nn.ModuleList(
            HierarchicalInteractiveAttention(width, config.heads, stride=8) for _ in self.bridges
        )
        self.offset = OffsetHead(config.encoder_widths[1], OFFSET_WIDTH) if config.aligned else None
        self.mask = MaskHead(config, at_4)
        self.fusion = FusionDecoder(config, at_2, at_4)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer(
            "deviation", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1), persistent=False
        )

    def forward(
        self, visible: Tensor, visible_luma: Tensor, infrared: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Fused luma (B, 1, H, W) in [0, 1] and class logits (B, K, H/4, W/4).

        Takes visible (B, 3, H, W), its luma and infrared (B, 1, H, W), all in [0, 1]; H and W
        divide by 32.
        """
        details, streams, semantic, _ = self._refine(visible, infrared)
        fused = self.fusion(visible_luma, infrared, details, streams)
        return fused, self.mask(semantic, details[1], streams)

    def segment(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """The logits of `forward` without the work on the fused frame."""
        return self.segment_and_align(visible, infrared)[0]

    def segment_and_align(self, visible: Tensor, infrared: Tensor) -> tuple[Tensor, Tensor | None]:
        """`segment`, and the estimated offset of infrared (B, 2, H/16, W/16) in px, or None."""
        details, streams, semantic, offset = self._refine(visible, infrared)
        return self.mask(semantic, details[1], streams), offset

    def fuse(self, visible: Tensor, visible_luma: Tensor, infrared: Tensor) -> Tensor:
        """The fused luma of `forward` without the work on the mask."""
        details, streams, _, _ = self._refine(visible, infrared)
        fused: Tensor = self.fusion(visible_luma, infrared, details, streams)
        return fused

    def _refine(
        self, visible: Tensor, infrared: Tensor
    ) -> tuple[FeaturePair, FeaturePair, Tensor, Tensor | None]:
        """Features at strides 2 and 4 side by side, refined streams, the pyramid, the offset."""
        levels, offset = self._levels(visible, infrared), None
        if self.offset is not None:
            offset = self.offset(torch.cat(levels[3], dim=1))
            for place, stride in ((1, 4), (2, 8), (3, 16), (4, 32)):
                of_visible, of_infrared = levels[place]
                levels[place] = of_visible, warp_by_offset(of_infrared, offset, stride)
        beside = [torch.cat(level, dim=1) for level in levels]
        semantic = self.pyramid(beside[2:])
        streams = self.visible_stream(levels[2][0]), self.infrared_stream(levels[2][1])
        sources = (beside[2], semantic)[-len(self.bridges) :]
        for bridge, attention, source in zip(self.bridges, self.attentions, sources, strict=True):
            streams = attention(*streams, bridge(source))
        return (beside[0], beside[1]), streams, semantic, offset

    def _levels(self, visible: Tensor, infrared: Tensor) -> list[FeaturePair]:
        """Features of visible and of infrared at strides 2, 4, 8, 16, 32."""
        stacked = torch.cat((visible, infrared.expand_as(visible)), dim=0)
        if self.half_size:
            stacked = functional.avg_pool2d(stacked, 2)
        features, pairs = self.encoder((stacked - self.mean) / self.deviation), visible.shape[0]
        # not by chunk(2), which fixes the batch in the exported graph
        levels = [(level[:pairs], level[pairs:]) for level in features]
        if self.half_size:
            levels.insert(0, (self.visible_stem(visible - 0.5), self.infrared_stem(infrared - 0.5)))
        return levels


class Pyramid(nn.Module):
    """Encoder features to one semantic map at stride 8; the mean of the frame joins at the top."""

    def __init__(self, config: PairConfig) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            ConvNormAct(width, config.head_width, kernel=1) for width in config.encoder_widths
        )
        self.context = nn.Conv2d(config.encoder_widths[-1], config.head_width, 1)
        self.smooth = nn.ModuleList(
            ConvNormAct(config.head_width, config.head_width) for _ in range(2)
        )

    def forward(self, levels: list[Tensor]) -> Tensor:
        at_8, at_16, at_32 = (lateral(x) for lateral, x in zip(self.laterals, levels, strict=True))
        at_32 = at_32 + self.context(levels[-1].mean(dim=(2, 3), keepdim=True))
        at_16 = self.smooth[0](at_16 + upsample(at_32, 2))
        smoothed: Tensor = self.smooth[1](at_8 + upsample(at_16, 2))
        return smoothed


class MaskHead(nn.Module):
    """Pyramid and refined streams (stride 8), features (stride 4) to class logits at stride 4."""

    def __init__(self, config: PairConfig, at_4: int) -> None:
        """`at_4`: channels of a sensor's features at stride 4."""
        super().__init__()
        width = config.mask_width
        self.reduce = ConvNormAct(config.head_width + 2 * config.stream_width, width, kernel=1)
        self.detail = ConvNormAct(2 * at_4, width, kernel=1)
        self.mix = ConvNormAct(width, width)
        self.classify = nn.Conv2d(width, len(config.taxonomy.names), 1)

    def forward(self, semantic: Tensor, at_4: Tensor, streams: FeaturePair) -> Tensor:
        reduced = upsample(self.reduce(torch.cat((semantic, *streams), dim=1)), 2)
        logits: Tensor = self.classify(self.mix(reduced + self.detail(at_4)))
        return logits


class FusionDecoder(nn.Module):
    """
    Refined streams (stride 8) and features (strides 4 and 2) to the fused luma.

    It reads the mean level of each frame, because gain controls differ by camera.
    """

    def __init__(self, config: PairConfig, at_2: int, at_4: int) -> None:
        """`at_2`, `at_4`: channels of a sensor's features at those strides."""
        super().__init__()
        width = config.decoder_width
        self.reduce = ConvNormAct(2 * config.stream_width, width, kernel=1)
        self.level = level_embedding(width)
        self.detail = ConvNormAct(2 * at_4, width, kernel=1)
        self.decode = pixel_decoder(width + 2 * at_2, width)

    def forward(
        self, visible_luma: Tensor, infrared: Tensor, details: FeaturePair, streams: FeaturePair
    ) -> Tensor:
        """`details`: both sensors' features at strides 2 and 4."""
        context = self.reduce(torch.cat(streams, dim=1))
        context = upsample(context + self.level(frame_levels(visible_luma, infrared)), 2)
        context = upsample(context + self.detail(details[1]), 2)
        decoded = self.decode(torch.cat((context, details[0]), dim=1))
        return blend(decoded, visible_luma, infrared)


def level_embedding(width: int) -> nn.Sequential:
    """The mean of each frame (B, 2, 1, 1) to an embedding (B, width, 1, 1)."""
    return nn.Sequential(nn.Conv2d(2, width, 1), nn.ReLU(), nn.Conv2d(width, width, 1))


def pixel_decoder(inputs: int, width: int) -> nn.Sequential:
    """Features (B, inputs, H/2, W/2) to a blending weight and a correction, (B, 2, H, W)."""
    return nn.Sequential(
        ConvNormAct(inputs, width),
        ConvNormAct(width, width),
        nn.Conv2d(width, 2 * 4, 3, padding=1),
        nn.PixelShuffle(2),
    )


def blend(decoded: Tensor, visible_luma: Tensor, infrared: Tensor) -> Tensor:
    """The fused luma (B, 1, H, W) in [0, 1] from the output of `pixel_decoder` and both frames."""
    weight, correction = decoded.chunk(2, dim=1)
    blended = infrared + weight.sigmoid() * (visible_luma - infrared)
    return (blended + CORRECTION * correction.tanh()).clamp(0, 1)


def frame_levels(visible_luma: Tensor, infrared: Tensor) -> Tensor:
    """The mean of each frame (B, 2, 1, 1), in two steps: a sum over a frame exceeds FP16."""
    tiles = functional.avg_pool2d(torch.cat((visible_luma, infrared), dim=1), MULTIPLE)
    return tiles.mean(dim=(2, 3), keepdim=True)
