"""
`paper`: SegMiF as published (Liu et al., ICCV 2023), corrected; reference and teacher.

    max(visible luma, infrared)      -> first two stages of the encoder -> semantic maps
    visible luma, infrared, semantic -> fusion at full resolution -> fused luma
    fused colour image               -> encoder -> head -> mask

What differs from the published code:

* The semantic maps come from the pair, as in the published figure. In the published code they come
  from a third image that is computed offline. Only the stages that are read run. Both passes
  normalise their image in the encoder.
* Luma is fused in training and in test. The published code fuses red in test.
* A sigmoid bounds the output. The published code has a PReLU and stretches each saved image to its
  own range, so video flickers.
* The 1x1 convolutions of the bridge run before its up-sampling instead of after. Both are linear
  and interpolation weights sum to one, so the result is the same for a sixteenth of the work.

As in the published code, but not its figure, both HIA stages share one set of weights. One PReLU
slope serves the whole fusion network.
"""

import torch
from torch import Tensor, nn

from segmif.model.blocks import upsample
from segmif.model.color import attach_chroma
from segmif.model.config import PaperConfig
from segmif.model.encoders.mix_transformer import MixTransformer
from segmif.model.hia import HierarchicalInteractiveAttention
from segmif.model.segformer_head import PyramidHead

BRIDGED_STAGES = 2  # of the encoder, at strides 4 and 8


class PaperNetwork(nn.Module):
    """Fusion, then segmentation of the fused image; the module's docstring has the details."""

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        classes = len(config.taxonomy.names)
        self.encoder = MixTransformer(config.encoder_widths, config.encoder_blocks)
        self.fusion = FusionNetwork(config)
        self.head = PyramidHead(config.encoder_widths, config.head_width, classes)

    def forward(
        self, visible: Tensor, visible_luma: Tensor, infrared: Tensor
    ) -> tuple[Tensor, Tensor]:
        """
        Fused luma (B, 1, H, W) in [0, 1] and class logits (B, K, H/4, W/4).

        Takes visible (B, 3, H, W), its luma and infrared (B, 1, H, W), all in [0, 1]; H and W
        divide by 32.
        """
        brighter = torch.maximum(visible_luma, infrared).expand(-1, 3, -1, -1)
        semantic = self.encoder(brighter, stages=BRIDGED_STAGES)
        fused_luma = self.fusion(visible_luma, infrared, semantic)
        fused = attach_chroma(fused_luma.squeeze(1), visible.permute(0, 2, 3, 1))
        return fused_luma, self.head(self.encoder(fused.permute(0, 3, 1, 2)))


class FusionNetwork(nn.Module):
    """Two streams of dense blocks with two HIA stages, all at full resolution."""

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        width = config.fusion_width
        self.activation = nn.PReLU()
        self.visible_stem = nn.Conv2d(1, width, 3, padding=1)
        self.infrared_stem = nn.Conv2d(1, width, 3, padding=1)
        self.visible_blocks = _dense_blocks(config)
        self.infrared_blocks = _dense_blocks(config)
        self.bridges = nn.ModuleList(
            nn.Conv2d(channels, width, 1) for channels in config.encoder_widths[:BRIDGED_STAGES]
        )
        self.attention = HierarchicalInteractiveAttention(width, config.heads, stride=1)
        self.decoder = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, padding=1)
            for inputs, outputs in ((2 * width, width), (width, width // 2))
        )
        self.to_luma = nn.Conv2d(width // 2, 1, 3, padding=1)

    def forward(self, visible_luma: Tensor, infrared: Tensor, semantic: list[Tensor]) -> Tensor:
        """Fused luma (B, 1, H, W) in [0, 1]; the semantic maps are of strides 4 and 8."""
        visible_stream = self.activation(self.visible_stem(visible_luma))
        infrared_stream = self.activation(self.infrared_stem(infrared))
        for level, features in enumerate(semantic):
            visible_stream, infrared_stream = self.attention(
                self.visible_blocks[level](visible_stream),
                self.infrared_blocks[level](infrared_stream),
                upsample(self.bridges[level](features), 4 * 2**level),
            )
        x = torch.cat((visible_stream, infrared_stream), dim=1)
        for layer in self.decoder:
            x = self.activation(layer(x))
        return torch.sigmoid(self.to_luma(x))


class DenseBlock(nn.Module):
    """Residual dense block of five dilated convolutions; each reads all outputs before it."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(width + i * growth, growth, 3, padding=2, dilation=2) for i in range(5)
        )
        self.reduce = nn.Conv2d(width + 5 * growth, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = x
        for layer in self.layers:
            features = torch.cat((features, layer(features).relu()), dim=1)
        reduced: Tensor = self.reduce(features).relu()
        return x + reduced


def _dense_blocks(config: PaperConfig) -> nn.ModuleList:
    return nn.ModuleList(
        DenseBlock(config.fusion_width, config.growth) for _ in range(BRIDGED_STAGES)
    )
