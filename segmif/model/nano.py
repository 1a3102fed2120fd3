"""
`nano`: one small encoder over the pair, HIA at stride 4, fusion at full resolution.

    visible, infrared -> two stems (stride 2) -> two streams (stride 4)
    streams           -> one encoder (strides 8, 16, 32) -> semantic pyramid (stride 8)
    streams, pyramid  -> HIA -> refined streams
    refined streams, stems   -> fusion decoder -> a weight and a correction for every pixel
    refined streams, pyramid -> mask

If a sensor is missing, its frame is black. Both tasks read the refined streams, so both losses
reach the attention.
"""

import torch
from torch import Tensor, nn

from segmif.model.blocks import ConvNormAct, ResidualBlock, upsample
from segmif.model.config import PairConfig
from segmif.model.edge import (
    FeaturePair,
    Pyramid,
    blend,
    frame_levels,
    level_embedding,
    pixel_decoder,
)
from segmif.model.hia import HierarchicalInteractiveAttention


class SmallNetwork(nn.Module):
    """One encoder pass over the pair; see the module's docstring."""

    def __init__(self, config: PairConfig) -> None:
        super().__init__()
        self.visible_stem = Stem(3, config.stem_width, config.stream_width)
        self.infrared_stem = Stem(1, config.stem_width, config.stream_width)
        self.encoder = Encoder(config)
        self.pyramid = Pyramid(config)
        # early semantics first, the pyramid's last: as in the published figure, shallow to deep
        source_widths = (config.encoder_widths[0], config.head_width)[-config.interactions :]
        self.stages = nn.ModuleList(InteractionStage(config, width) for width in source_widths)
        self.mask = MaskHead(config)
        self.fusion = FusionDecoder(config)

    def forward(
        self, visible: Tensor, visible_luma: Tensor, infrared: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Fused luma (B, 1, H, W) in [0, 1] and class logits (B, K, H/4, W/4).

        Takes visible (B, 3, H, W), its luma and infrared (B, 1, H, W), all in [0, 1]; H and W
        divide by 32.
        """
        details, streams, semantic = self._refine(visible, infrared)
        fused = self.fusion(visible_luma, infrared, *details, *streams)
        return fused, self.mask(semantic, *streams)

    def fuse(self, visible: Tensor, visible_luma: Tensor, infrared: Tensor) -> Tensor:
        """The fused luma of `forward` without the work on the mask."""
        details, streams, _ = self._refine(visible, infrared)
        fused: Tensor = self.fusion(visible_luma, infrared, *details, *streams)
        return fused

    def _refine(self, visible: Tensor, infrared: Tensor) -> tuple[FeaturePair, FeaturePair, Tensor]:
        """Both details at stride 2, both refined streams at stride 4, the semantic pyramid."""
        visible_detail, visible_stream = self.visible_stem(visible)
        infrared_detail, infrared_stream = self.infrared_stem(infrared)
        levels = self.encoder(torch.cat((visible_stream, infrared_stream), dim=1))
        semantic = self.pyramid(levels)
        sources = (levels[0], semantic)[-len(self.stages) :]
        streams = visible_stream, infrared_stream
        for stage, source in zip(self.stages, sources, strict=True):
            streams = stage(*streams, source)
        return (visible_detail, infrared_detail), streams, semantic


class Stem(nn.Module):
    """One sensor's image (B, c, H, W) to its detail at stride 2 and its stream at stride 4."""

    def __init__(self, channels: int, width: int, stream_width: int) -> None:
        super().__init__()
        self.detail = ConvNormAct(channels, width, stride=2, kernel=4)
        self.stream = ConvNormAct(width, stream_width, stride=2)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        detail = self.detail(image - 0.5)
        return detail, self.stream(detail)


class Encoder(nn.Module):
    """Both streams at stride 4 to features at strides 8, 16 and 32."""

    def __init__(self, config: PairConfig) -> None:
        super().__init__()
        inputs = (2 * config.stream_width, *config.encoder_widths)
        self.levels = nn.ModuleList(
            nn.Sequential(
                ConvNormAct(before, width, stride=2), *(ResidualBlock(width) for _ in range(blocks))
            )
            for before, width, blocks in zip(
                inputs, config.encoder_widths, config.encoder_blocks, strict=False
            )
        )

    def forward(self, streams: Tensor) -> list[Tensor]:
        features = []
        for level in self.levels:
            streams = level(streams)
            features.append(streams)
        return features


class InteractionStage(nn.Module):
    """HIA at stride 4 between both streams and a semantic map of stride 8."""

    def __init__(self, config: PairConfig, semantic_width: int) -> None:
        super().__init__()
        width = config.stream_width
        self.bridge = nn.Conv2d(semantic_width, width, 1)
        self.attention = HierarchicalInteractiveAttention(width, config.heads, stride=4)

    def forward(self, visible: Tensor, infrared: Tensor, semantic: Tensor) -> tuple[Tensor, Tensor]:
        refined: tuple[Tensor, Tensor] = self.attention(
            visible, infrared, upsample(self.bridge(semantic), 2)
        )
        return refined


class FusionDecoder(nn.Module):
    """
    Refined streams and both details to the fused luma.

    It reads the mean level of each frame, because gain controls differ by camera.
    """

    def __init__(self, config: PairConfig) -> None:
        super().__init__()
        width = config.decoder_width
        self.reduce = ConvNormAct(2 * config.stream_width, width)
        self.level = level_embedding(width)
        self.decode = pixel_decoder(width + 2 * config.stem_width, width)

    def forward(
        self,
        visible_luma: Tensor,
        infrared: Tensor,
        visible_detail: Tensor,
        infrared_detail: Tensor,
        visible_stream: Tensor,
        infrared_stream: Tensor,
    ) -> Tensor:
        context = self.reduce(torch.cat((visible_stream, infrared_stream), dim=1))
        context = upsample(context + self.level(frame_levels(visible_luma, infrared)), 2)
        decoded = self.decode(torch.cat((context, visible_detail, infrared_detail), dim=1))
        return blend(decoded, visible_luma, infrared)


class MaskHead(nn.Module):
    """Semantic map (stride 8) and refined streams (stride 4) to class logits at stride 4."""

    def __init__(self, config: PairConfig) -> None:
        super().__init__()
        width = config.mask_width
        classes = len(config.taxonomy.names)
        self.reduce = ConvNormAct(config.head_width, width, kernel=1)
        self.mix = ConvNormAct(width + 2 * config.stream_width, width)
        self.classify = nn.Conv2d(width, classes, 1)

    def forward(self, semantic: Tensor, visible: Tensor, infrared: Tensor) -> Tensor:
        features = torch.cat((upsample(self.reduce(semantic), 2), visible, infrared), dim=1)
        logits: Tensor = self.classify(self.mix(features))
        return logits
