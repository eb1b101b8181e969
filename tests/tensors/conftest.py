"""Threads for the workers, however few this machine or its settings would give."""

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def _three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)
