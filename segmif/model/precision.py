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
    """Makes every BatchNorm right behind a convolution a part of it, in place."""
    for module in network.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for place in range(len(module) - 1):
            conv, norm = module[place], module[place + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                with torch.no_grad():
                    module[place] = fuse_conv_bn_eval(conv, norm)
                module[place + 1] = nn.Identity()
    return network
