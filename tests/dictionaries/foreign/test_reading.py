import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

from monosemy.dictionaries.foreign.reading import (
    read_npz,
    read_pickle,
    read_safetensors,
    read_yaml,
    tensor_reasons,
)
from monosemy.foundation.errors import UserError

ROWS = torch.arange(6.0).view(2, 3)


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


READERS = {
    "safetensors": (read_safetensors, lambda: save({"a": ROWS}), "is not a whole safetensors file"),
    "npz": (read_npz, lambda: npz(a=ROWS.numpy()), "is not a whole npz file of numbers"),
    "pickle": (read_pickle, lambda: saved({"a": ROWS}), "is not a whole torch file"),
}


@pytest.mark.parametrize("kind", READERS)
def test_whole_files_are_read(kind, tmp_path):
    read, make, _ = READERS[kind]
    (tmp_path / "file").write_bytes(make())
    assert torch.equal(read(tmp_path / "file")["a"], ROWS)


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("cut", [0.0, 0.3, 0.9])
def test_files_that_are_cut_off_are_refused(kind, cut, tmp_path):
    read, make, message = READERS[kind]
    data = make()
    (tmp_path / "file").write_bytes(data[: int(cut * len(data))])
    with pytest.raises(UserError, match=message):
        read(tmp_path / "file")


@pytest.mark.parametrize("kind", READERS)
def test_files_that_are_not_there_are_refused(kind, tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        READERS[kind][0](tmp_path / "file")


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path):
    trap = tmp_path / "trap"
    (tmp_path / "file").write_bytes(saved({"a": ROWS, "b": Trap(trap)}))
    with pytest.raises(UserError, match="to read it would run code"):
        read_pickle(tmp_path / "file")
    assert not trap.exists()
    pickle.loads(pickle.dumps(Trap(trap)))  # the trap does work
    assert trap.exists()


def test_objects_in_an_npz_are_refused_and_not_run(tmp_path):
    trap = tmp_path / "trap"
    (tmp_path / "file").write_bytes(npz(a=np.array([Trap(trap)], dtype=object)))
    with pytest.raises(UserError, match="is not a whole npz file of numbers"):
        read_npz(tmp_path / "file")
    assert not trap.exists()


def test_yaml_holds_plain_values_only(tmp_path):
    (tmp_path / "file").write_text("a: [1, 2]\nb: text\n")
    assert read_yaml(tmp_path / "file") == {"a": [1, 2], "b": "text"}
    (tmp_path / "file").write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(UserError, match="is not YAML"):
        read_yaml(tmp_path / "file")


WANTED = {"W": ("m", "d"), "b": ("m",), "k": ()}


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({}, []),
        ({"k": None}, []),
        ({"b": None}, ["tensor b (m,) is missing"]),
        ({"b": torch.zeros(3)}, ["tensor b has shape (3,), wanted (2,)"]),
        ({"b": [0.0, 0.0]}, ["b holds list, wanted a tensor (m,)"]),
        ({"b": torch.zeros(2, dtype=torch.int8)}, ["tensor b holds torch.int8, wanted real numbers"]),
        ({"b": torch.tensor([0.0, torch.inf])}, ["tensor b holds values that are not finite"]),
        ({"W": torch.zeros(0, 3), "b": torch.zeros(0)},
         ["tensor W is empty: its shape is (0, 3)", "tensor b is empty: its shape is (0,)"]),
        ({"other": ROWS}, ["unknown tensors: other; wanted only W, b, k"]),
        ({"W": ROWS.to_sparse()},
         ["tensor W holds torch.sparse_coo torch.float32, wanted real numbers"]),
        ({"W": torch.zeros(2, 3, device="meta")},
         ["tensor W holds torch.float32, wanted real numbers"]),
    ],
)  # fmt: skip
def test_every_reason_against_tensors_is_told(changes, reasons):
    given = {"W": ROWS, "b": torch.zeros(2), "k": torch.tensor(1.0)} | changes
    given = {name: value for name, value in given.items() if value is not None}
    assert tensor_reasons(given, WANTED, optional=("k",)) == reasons


def test_a_transposed_matrix_is_told_apart_where_its_shape_allows():
    given = {"b": torch.zeros(2), "c": torch.zeros(3), "W": ROWS.T}
    wanted = {"b": ("m",), "c": ("d",), "W": ("m", "d")}
    assert tensor_reasons(given, wanted) == [
        "tensor W has shape (3, 2), wanted (2, 3); it looks transposed"
    ]
