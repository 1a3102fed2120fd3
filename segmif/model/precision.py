"""A trained network in FP16, with FP32 for the parts that need it."""

import copy

from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from segmif.model.network import Network

KEEP_FP32 = "log_temperature"  # FP16 has 7.7 to 0.004, which is 0.4 % of the temperature


def to_half(network: Network) -> Network:
    """
    A copy of a network in eval mode with FP16 weights and activations.

    BatchNorm is folded into its convolution in FP32 first, as its variances may exceed the range of
    FP16. The temperatures of HIA and the arithmetic on pixels stay FP32. Contexts, softmax and
    LayerNorm of HIA compute in FP32 in any precision.
    """
    half = fold_norms(copy.deepcopy(network))
    kept = {name: p.detach().clone() for name, p in half.named_parameters() if KEEP_FP32 in name}
    half.half()
    for name, parameter in half.named_parameters():
        if name in kept:
            parameter.data = kept[name]
    return half


class ScaleShift(nn.Module):
    """A BatchNorm that follows no convolution, in two operations; maps (B, C, H, W)."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None and norm.running_var is not None
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        self.scale = nn.Parameter(scale.detach().view(1, -1, 1, 1))
        shift = norm.bias - norm.running_mean * scale
        self.shift = nn.Parameter(shift.detach().view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def fold_norms(network: Network) -> Network:
    """Folds every BatchNorm into the convolution before it, or into a `ScaleShift`, in place."""
    for module in network.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for place, norm in enumerate(module):
            if not isinstance(norm, nn.BatchNorm2d):
                continue
            conv = module[place - 1] if place else None
            if isinstance(conv, nn.Conv2d):
                module[place - 1], module[place] = fuse_conv_bn_eval(conv, norm), nn.Identity()
            else:
                module[place] = ScaleShift(norm)
    return network
