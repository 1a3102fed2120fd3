"""What several teachers say together."""

import torch

from segmif.classes import MFNET
from segmif.model.network import Network
from training.fit.distillation import network_outputs, teacher_outputs


def test_several_teachers_teach_the_mean_of_their_masks() -> None:
    torch.manual_seed(0)
    teachers = [Network("nano", MFNET).eval().double() for _ in range(2)]
    pair = torch.rand(2, 32, 64, 3).double(), torch.rand(2, 32, 64).double()
    with torch.no_grad():
        first, second = (network_outputs(teacher, *pair) for teacher in teachers)
        both = teacher_outputs(teachers, *pair)
    mean = (first.logits.softmax(dim=1) + second.logits.softmax(dim=1)) / 2
    torch.testing.assert_close(both.logits.softmax(dim=1), mean)
    assert torch.equal(both.fused, first.fused)
    assert not torch.equal(first.fused, second.fused)
    assert torch.equal(both.attention, first.attention)
