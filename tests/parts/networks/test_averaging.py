from __future__ import annotations

import torch
from torch import nn

from smidgen.parts.networks.averaging import averaged, decay_at, follow


def test_the_teacher_moves_a_tenth_of_the_way_with_its_statistics():
    student = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    teacher = averaged(student)
    with torch.no_grad():
        student[0].weight.fill_(2.0)
        teacher[0].weight.fill_(1.0)
        student[1].running_mean.fill_(10.0)
        student[1].num_batches_tracked.fill_(7)
    follow(teacher, student, 0.9)
    assert torch.allclose(teacher[0].weight, torch.tensor(1.1))
    assert torch.allclose(teacher[1].running_mean, torch.tensor(1.0))
    assert teacher[1].num_batches_tracked == 7
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_first_the_average_is_the_mean_of_all_steps():
    student = nn.Linear(1, 1, bias=False)
    teacher = averaged(student)
    for n, value in enumerate((1.0, 2.0, 6.0)):
        with torch.no_grad():
            student.weight.fill_(value)
        follow(teacher, student, decay_at(n, 0.99))
    assert torch.allclose(teacher.weight, torch.tensor(3.0))
    assert decay_at(500, 0.99) == 0.99
