"""Blocks that several networks share."""

from torch import Tensor, nn
from torch.nn import functional

# Of ImageNet's training images in [0, 1]: the normalisation of pretrained encoders.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ConvNormAct(nn.Sequential):
    """Convolution, BatchNorm, ReLU; the norm folds into the convolution at export."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, kernel: int = 3) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


def upsample(features: Tensor, factor: int) -> Tensor:
    """Bilinear up-sampling of (B, C, H, W) by a whole factor."""
    return functional.interpolate(
        features, scale_factor=factor, mode="bilinear", align_corners=False
    )
