"""
The kernels of `cuda/` behind ctypes: the host build for tests, the CUDA build for a GPU.

`Kernels.attention` computes what `interactive_attention.gram` does; `use` puts it in gram's place,
in training as well.
"""

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segmif.ops.hia import EPSILON, TEMPERATURE, fast_forms, gram

SOURCES = Path(__file__).parent / "cuda"
TYPES = {torch.float32: 0, torch.float16: 1}
MOST_CHANNELS = 64  # that the kernels take


class KernelError(ValueError):
    """The kernels cannot be loaded, or refused a call."""


class Shape(ctypes.Structure):
    """`SegmifAttention` of interactive_attention.h."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("batch", "channels", "heads", "height", "width")),
        ("type", ctypes.c_int32),
        ("layout", ctypes.c_int32),
        ("epsilon", ctypes.c_float),
    )


class Kernels:
    """A loaded build of the kernels."""

    def __init__(self, path: Path, device: str) -> None:
        """Loads the library at `path`, built for `device` (cpu or cuda); raises KernelError."""
        self.device = device
        try:
            library = ctypes.CDLL(str(path))
            self._run = library.segmif_attention
            self._workspace = library.segmif_attention_workspace
            self._words = library.segmif_attention_error
        except (OSError, AttributeError) as error:
            raise KernelError(
                f"{path} is not a build of the kernels for this machine: {error}"
            ) from error
        pointers, word = ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p
        self._run.argtypes = (
            ctypes.POINTER(Shape), pointers, pointers, word, ctypes.c_size_t, word,
        )  # fmt: skip
        self._workspace.argtypes = (ctypes.POINTER(Shape),)
        self._workspace.restype = ctypes.c_size_t
        self._words.restype = ctypes.c_char_p

    def attention(self, *maps_and_parameters: Tensor) -> tuple[Tensor, Tensor]:
        """
        The refined visible and infrared map, of the arguments of `interactive_attention.plain`.

        The three maps all lie in memory as (B, C, H, W) or all as channels_last, and so do both
        results. Raises KernelError for what the kernels cannot take.
        """
        visible = maps_and_parameters[0]
        layout, inputs = self._prepared(maps_and_parameters)
        outputs = [torch.empty_like(visible, memory_format=layout) for _ in range(2)]
        shape = Shape(
            visible.shape[0],
            visible.shape[1],
            maps_and_parameters[TEMPERATURE].shape[1],
            *visible.shape[2:],
            TYPES[visible.dtype],
            int(layout == torch.channels_last),
            EPSILON,
        )
        size = self._workspace(ctypes.byref(shape))
        workspace = torch.empty(size, dtype=torch.uint8, device=visible.device)
        arguments = (ctypes.byref(shape), _pointers(inputs), _pointers(outputs))
        if self.device == "cuda":
            with torch.cuda.device(visible.device):  # the kernels run on the current one
                stream = torch.cuda.current_stream().cuda_stream
                error = self._run(*arguments, workspace.data_ptr(), size, stream)
        else:
            error = self._run(*arguments, workspace.data_ptr(), size, None)
        if error:
            raise KernelError(f"the attention kernels refused: {self._words(error).decode()}")
        return outputs[0], outputs[1]

    def _prepared(self, given: tuple[Tensor, ...]) -> tuple[torch.memory_format, list[Tensor]]:
        """The layout of the maps and all arguments as the kernels read them."""
        visible = given[0]
        if visible.dtype not in TYPES or visible.device.type != self.device:
            raise KernelError(
                f"maps are {visible.dtype} on {visible.device}; these kernels take float32 and "
                f"float16 on {self.device}"
            )
        kinds = {(tuple(map_.shape), map_.dtype, map_.device) for map_ in given[:3]}
        if len(kinds) > 1:
            raise KernelError(f"the three maps differ: {kinds}; shape, type and device are shared")
        turned = visible.is_contiguous(memory_format=torch.channels_last)
        turned = turned and not visible.is_contiguous()
        layout = torch.channels_last if turned else torch.contiguous_format
        maps = [_aligned(map_.contiguous(memory_format=layout)) for map_ in given[:3]]
        parameters = [
            each.to(
                visible.device, torch.float32 if place == TEMPERATURE else visible.dtype
            ).contiguous()
            for place, each in enumerate(given[3:], start=3)
        ]
        return layout, maps + parameters


def _aligned(map_: Tensor) -> Tensor:
    """The map, or a copy where it begins inside another tensor, at no multiple of 16 bytes."""
    return map_ if map_.data_ptr() % 16 == 0 else map_.clone()


def _pointers(tensors: list[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


_in_use: dict[str, Kernels] = {}


def use(kernels: Kernels) -> None:
    """From now on HIA runs on these kernels, wherever its maps are on their device."""
    _in_use[kernels.device] = kernels
    fast_forms[kernels.device] = _attention


def _attention(*given: Tensor) -> tuple[Tensor, Tensor]:
    visible = given[0]
    alike = all(map_.dtype == visible.dtype for map_ in given[1:3])  # not so under autocast
    if visible.dtype not in TYPES or not alike or visible.shape[1] > MOST_CHANNELS:
        return gram(*given)
    refined: tuple[Tensor, Tensor] = operator(*given)
    return refined


@torch.library.custom_op("segmif::interactive_attention", mutates_args=())
def operator(
    visible: Tensor,
    infrared: Tensor,
    semantic: Tensor,
    embed_weight: Tensor,
    embed_bias: Tensor,
    key_weight: Tensor,
    value_weight: Tensor,
    temperature: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
) -> tuple[Tensor, Tensor]:
    """The kernels in use, as an operator that torch.compile and autograd know."""
    return _in_use[visible.device.type].attention(
        visible,
        infrared,
        semantic,
        embed_weight,
        embed_bias,
        key_weight,
        value_weight,
        temperature,
        out_weight,
        out_bias,
        norm_weight,
        norm_bias,
    )


@operator.register_fake
def _(visible: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(visible), torch.empty_like(visible)


def _keep(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
    """By `gram`, computed once more: the forward pass keeps nothing but its inputs."""
    inputs = [each.detach().requires_grad_() for each in ctx.saved_tensors]
    with torch.enable_grad():
        refined = gram(*inputs)
    return torch.autograd.grad(refined, inputs, gradients)


operator.register_autograd(_backward, setup_context=_keep)
