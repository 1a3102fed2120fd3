"""The settings of each network: one frozen dataclass a family, the named variants in one dict."""

from dataclasses import dataclass, replace

from segmif.classes import MFNET, Taxonomy
from segmif.frames import DEFAULT_TINT


@dataclass(frozen=True, kw_only=True)
class PairConfig:
    """A network with one encoder for both sensors: `edge` and `nano`."""

    half_size: bool  # the encoder reads frames at half size and ends at stride 32
    stem_width: int  # channels of each sensor's map at stride 2
    stream_width: int  # channels of each sensor's map at stride 8, the input of HIA
    encoder_widths: tuple[int, int, int]  # of both sensors together, at strides 8, 16, 32
    head_width: int  # channels of the semantic pyramid at stride 8
    mask_width: int  # channels of the mask's last layer at stride 4
    decoder_width: int  # channels of the fusion decoder at stride 2
    interactions: int  # HIA stages
    heads: int
    label_stride: int  # of the class decision; nearest neighbour from there
    aligned: bool = False  # infrared's features are warped by an estimated offset
    tint: float = DEFAULT_TINT  # strength of the hue if none is given
    taxonomy: Taxonomy = MFNET

    def __post_init__(self) -> None:
        if self.stream_width % self.heads:
            raise ValueError(
                f"stream_width {self.stream_width} does not divide into {self.heads} heads"
            )


@dataclass(frozen=True, kw_only=True)
class PaperConfig:
    """
    SegMiF as published: full-resolution dense fusion, then a segmentation network on the fused
    image.
    """

    fusion_width: int = 64
    growth: int = 32  # of a dense block
    heads: int = 8
    encoder_widths: tuple[int, int, int, int] = (64, 128, 320, 512)  # MiT-B3, strides 4, 8, 16, 32
    encoder_blocks: tuple[int, int, int, int] = (3, 4, 18, 3)
    head_width: int = 256
    label_stride: int = 1  # of the class decision
    tint: float = 0.0  # no hue was published
    taxonomy: Taxonomy = MFNET


EDGE = PairConfig(
    half_size=False,
    stem_width=16,
    stream_width=64,
    encoder_widths=(80, 224, 640),
    head_width=96,
    mask_width=64,
    decoder_width=32,
    interactions=2,
    heads=8,
    label_stride=1,
)

VARIANTS: dict[str, PairConfig | PaperConfig] = {
    "paper": PaperConfig(),
    "edge": EDGE,
    "nano": PairConfig(
        half_size=True,
        stem_width=16,
        stream_width=48,
        encoder_widths=(48, 80, 224),
        head_width=64,
        mask_width=48,
        decoder_width=16,
        interactions=2,
        heads=6,
        label_stride=2,
    ),
    "edge-aligned": replace(EDGE, aligned=True),
}
CANDIDATES = frozenset({"edge-aligned"})  # not shipped until they are better (decision 17)
