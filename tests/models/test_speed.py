"""The work of a step is counted whatever the step does."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from models.speed import Work


def test_work_is_what_torch_counts() -> None:
    layer, row = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), torch.ones(2, 3, 16)
    with FlopCounterMode(display=False) as known:
        layer(row).sum().backward()
    with Work() as work:
        layer(row).sum().backward()
    assert work.flops == known.get_total_flops() > 0


def test_targets_without_a_gradient_may_come_from_what_learns() -> None:
    tower, head = torch.nn.Linear(4, 4), torch.nn.Linear(4, 3)
    with Work() as work:
        features = tower(torch.ones(2, 4))
        with torch.no_grad():
            targets = head(features[:, :4]).softmax(dim=1)  # FlopCounterMode fails on such a view
        torch.nn.functional.cross_entropy(features[:, :3], targets).backward()
    forward, targeted, backward = (2 * 2 * 4 * width for width in (4, 3, 4))
    assert work.flops == forward + targeted + backward
