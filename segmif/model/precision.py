"""A trained network in half precision, mixed where half would not do."""

import copy

import torch
from torch import nn
from torch.nn.utils import fuse_conv_bn_eval

from segmif.model.network import Network

KEPT = "log_temperature"  # in half, 7.7 is known to 0.004: half a per cent of the temperature


def to_half(network: Network) -> Network:
    """
    A copy of a network in eval mode with FP16 weights and activations.

    BatchNorm is folded into its convolution in FP32 first: its variances may leave the range of
    FP16. What stays FP32: the temperatures of HIA (its contexts, softmax and LayerNorm compute in
    FP32 anyway) and the arithmetic on pixels.
    """
    half = fold_norms(copy.deepcopy(network))
    kept = {name: p.detach().clone() for name, p in half.named_parameters() if KEPT in name}
    half.half()
    for name, parameter in half.named_parameters():
        if name in kept:
            parameter.data = kept[name]
    return half


def fold_norms(network: Network) -> Network:
    """Makes every BatchNorm a part of the convolution before it, else one of its own, in place."""
    for module in network.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for place, norm in enumerate(module):
            if not isinstance(norm, nn.BatchNorm2d):
                continue
            conv = module[place - 1] if place else None
            with torch.no_grad():
                if isinstance(conv, nn.Conv2d):
                    module[place - 1], module[place] = fuse_conv_bn_eval(conv, norm), nn.Identity()
                else:
                    module[place] = fuse_conv_bn_eval(_one_by_one(norm), norm)
    return network


def _one_by_one(norm: nn.BatchNorm2d) -> nn.Conv2d:
    """A convolution that does nothing, for a norm that follows none."""
    width = norm.num_features
    conv = nn.Conv2d(width, width, 1, groups=width, bias=False).to(norm.running_var).eval()
    nn.init.ones_(conv.weight)
    return conv
