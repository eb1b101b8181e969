import json
import re

import pytest
import torch
from safetensors.torch import save_file

from monosemy.dictionaries.foreign.names import found_in_names, header_names


def test_names_are_read_off_a_header(tmp_path):
    save_file({"a": torch.zeros(2), "b": torch.zeros(1)}, tmp_path / "file", {"format": "pt"})
    assert header_names(tmp_path / "file") == {"a", "b"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 8,
        (1 << 40).to_bytes(8, "little") + b"{}",
        len(b"[1]").to_bytes(8, "little") + b"[1]",
        (10**5).to_bytes(8, "little") + b"[" * 10**5,
        (20).to_bytes(8, "little") + json.dumps({"a": 1}).encode()[:4],
    ],
)
def test_a_header_that_is_broken_has_no_names(data, tmp_path):
    (tmp_path / "file").write_bytes(data)
    assert header_names(tmp_path / "file") == set()


def test_the_nearest_name_counts_and_in_it_the_last(tmp_path):
    path = tmp_path / "layer_3" / "width_16k_layer_5" / "file"
    found = found_in_names(path, r"layer_(\d+)")
    assert isinstance(found, re.Match)
    assert found[1] == "5"
    assert found_in_names(path, r"nowhere_to_be_found") is None
