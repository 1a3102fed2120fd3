"""
The kernels of `cuda/` by ctypes: the host build for tests, the CUDA build for a GPU.

`Kernels.attention` computes `hia.gram`. `use` replaces `gram` by it, in training as well.
"""

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segmif.ops.hia import EPSILON, TEMPERATURE, device_kernels, gram

SOURCES = Path(__file__).parent / "cuda"
TYPES = {torch.float32: 0, torch.float16: 1}
MAX_CHANNELS = 64  # of the kernels' maps


class KernelError(ValueError):
    """The kernels cannot be loaded, or do not take the arguments."""


class Shape(ctypes.Structure):
    """`SegmifAttention` of interactive_attention.h."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("batch", "channels", "heads", "height", "width")),
        ("type", ctypes.c_int32),
        ("layout", ctypes.c_int32),
        ("epsilon", ctypes.c_float),
    )


class Library:
    """A build of some of the kernels: a call, its workspace, and what its errors say."""

    def __init__(self, path: Path, device: str, prefix: str, shape: type[ctypes.Structure]) -> None:
        """Loads `path`, built for `device` (cpu or cuda); raises KernelError."""
        self.device = device
        try:
            library = ctypes.CDLL(str(path))
            self._run = getattr(library, prefix)
            self._workspace = getattr(library, f"{prefix}_workspace")
            self._error_text = getattr(library, f"{prefix}_error")
        except (OSError, AttributeError) as error:
            raise KernelError(
                f"{path} is not a build of the kernels for this machine: {error}"
            ) from error
        several, word = ctypes.POINTER(ctypes.c_void_p), ctypes.c_void_p
        self._run.argtypes = (
            ctypes.POINTER(shape), several, several, word, ctypes.c_size_t, word,
        )  # fmt: skip
        self._workspace.argtypes = (ctypes.POINTER(shape),)
        self._workspace.restype = ctypes.c_size_t
        self._error_text.restype = ctypes.c_char_p

    def run(self, shape: ctypes.Structure, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Runs on the current stream of the outputs' device; raises KernelError for a refusal."""
        device, size = outputs[0].device, self._workspace(ctypes.byref(shape))
        workspace = torch.empty(size, dtype=torch.uint8, device=device)
        arguments = ctypes.byref(shape), _pointers(inputs), _pointers(outputs), workspace.data_ptr()
        if self.device == "cuda":
            with torch.cuda.device(device):  # the kernels run on the current one
                stream = torch.cuda.current_stream().cuda_stream
                error = self._run(*arguments, size, stream)
        else:
            error = self._run(*arguments, size, None)
        if error:
            raise KernelError(f"the kernels failed: {self._error_text(error).decode()}")


class Kernels(Library):
    """A loaded build of the attention's kernels."""

    def __init__(self, path: Path, device: str) -> None:
        """Loads the library `path`, built for `device` (cpu or cuda); raises KernelError."""
        super().__init__(path, device, "segmif_attention", Shape)

    def attention(self, *maps_and_parameters: Tensor) -> tuple[Tensor, Tensor]:
        """
        The refined visible and infrared map; arguments of `hia.plain`.

        The results have the memory format of `visible`, contiguous or channels_last. Raises
        KernelError for types, devices or sizes that the kernels do not take.
        """
        visible = maps_and_parameters[0]
        layout, inputs = self._prepare_inputs(maps_and_parameters)
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
        self.run(shape, inputs, outputs)
        return outputs[0], outputs[1]

    def _prepare_inputs(
        self, given: tuple[Tensor, ...]
    ) -> tuple[torch.memory_format, list[Tensor]]:
        """The memory format of the maps, and all arguments in the form that the kernels read."""
        visible = given[0]
        if visible.dtype not in TYPES or visible.device.type != self.device:
            raise KernelError(
                f"maps are {visible.dtype} on {visible.device}; these kernels take float32 and "
                f"float16 on {self.device}"
            )
        kinds = {(tuple(map_.shape), map_.dtype, map_.device) for map_ in given[:3]}
        if len(kinds) > 1:
            raise KernelError(f"the maps differ: {kinds}; expected one shape, type and device")
        channels_last = visible.is_contiguous(memory_format=torch.channels_last)
        channels_last = channels_last and not visible.is_contiguous()
        layout = torch.channels_last if channels_last else torch.contiguous_format
        maps = [_aligned(map_.contiguous(memory_format=layout)) for map_ in given[:3]]
        parameters = [
            each.to(
                visible.device, torch.float32 if place == TEMPERATURE else visible.dtype
            ).contiguous()
            for place, each in enumerate(given[3:], start=3)
        ]
        return layout, maps + parameters


def _aligned(map_: Tensor) -> Tensor:
    """The map, or a copy if its address is no multiple of 16 bytes."""
    return map_ if map_.data_ptr() % 16 == 0 else map_.clone()


def _pointers(tensors: list[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


_in_use: dict[str, Kernels] = {}


def use(kernels: Kernels) -> None:
    """Runs HIA on these kernels from now on, for maps on their device."""
    _in_use[kernels.device] = kernels
    device_kernels[kernels.device] = _attention


def _attention(*given: Tensor) -> tuple[Tensor, Tensor]:
    visible = given[0]
    alike = all(map_.dtype == visible.dtype for map_ in given[1:3])  # may differ under autocast
    if visible.dtype not in TYPES or not alike or visible.shape[1] > MAX_CHANNELS:
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
    """The kernels in use as an operator for torch.compile and autograd."""
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


def _save_inputs(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
    """Computes `gram` again and its gradients: the forward pass keeps only its inputs."""
    inputs = [each.detach().requires_grad_() for each in ctx.saved_tensors]
    with torch.enable_grad():
        refined = gram(*inputs)
    return torch.autograd.grad(refined, inputs, gradients)


operator.register_autograd(_backward, setup_context=_save_inputs)
