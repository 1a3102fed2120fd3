"""The kernels of `cuda/pixels.cu` by ctypes: the host build for tests, the CUDA build for a GPU."""

import ctypes
from pathlib import Path

import torch
from torch import Tensor

from segmif.ops.native import TYPES, KernelError, Library


class PixelShape(ctypes.Structure):
    """`SegmifPixels` of pixels.h."""

    _fields_ = tuple(
        (name, ctypes.c_int32)
        for name in ("batch", "height", "width", "classes", "label_stride", "type")
    )


class PixelKernels(Library):
    """A loaded build of the kernels of the last pixels."""

    def __init__(self, path: Path, device: str) -> None:
        """Loads the library `path`, built for `device` (cpu or cuda); raises KernelError."""
        super().__init__(path, device, "segmif_pixels", PixelShape)

    def pixels(
        self,
        visible: Tensor,
        infrared: Tensor,
        fused_luma: Tensor,
        logits: Tensor,
        tint: Tensor,
        *,
        label_stride: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """
        Fused levels, class ids and confidence; arguments and results of `plain` in `model.pixels`.

        Raises KernelError for types, devices or sizes that the kernels do not take.
        """
        given = [visible, infrared, fused_luma, logits]
        kinds = {(each.dtype, each.device.type) for each in given}
        if kinds != {(visible.dtype, self.device)} or visible.dtype not in TYPES:
            raise KernelError(
                f"the tensors are {kinds}; these kernels take all in float32 or all in float16 on "
                f"{self.device}"
            )
        batch, height, width = infrared.shape
        wanted = [(batch, height, width, 3), (batch, height, width), (batch, height, width)]
        wanted.append((batch, logits.shape[1], height // 4, width // 4))
        found = [tuple(each.shape) for each in given]
        if found != wanted or tuple(tint.shape) != (batch,):
            raise KernelError(f"the shapes are {[*found, tuple(tint.shape)]}, not {wanted}, B")
        inputs = [each.contiguous() for each in given] + [tint.to(visible.device, torch.float32)]
        outputs = [torch.empty_like(each) for each in (inputs[0], inputs[1], inputs[1])]
        sizes = batch, height, width, logits.shape[1], label_stride, TYPES[visible.dtype]
        self.run(PixelShape(*sizes), inputs, outputs)
        return outputs[0], outputs[1], outputs[2]
