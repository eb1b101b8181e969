"""Samples with labelled variables: from files in each form, and from the specimen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from monosemy.data.documents import Document
from monosemy.foundation.errors import UserError
from monosemy.recipes.laboratory.code_samples import from_files, from_model, nested_classes
from monosemy.tensors.compute import Compute


@pytest.fixture
def files(tmp_path):
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    save_file({"activations": torch.from_numpy(x)}, tmp_path / "x.safetensors")
    size, colour = ["s", "s", "l", "l", "s", "l"], ["red", "blue"] * 3
    document = ["d", "d", "e", "e", "f", "f"]
    rows = ["size,colour,document", *map(",".join, zip(size, colour, document, strict=True))]
    (tmp_path / "y.csv").write_text("\n".join(rows) + "\n")
    np.savez(tmp_path / "y.npz", size=np.array(size), colour=np.array(colour),
             document=np.array(document))  # fmt: skip
    return tmp_path


@pytest.mark.parametrize("activations", ["x.npy", "x.safetensors"])
@pytest.mark.parametrize("labels", ["y.csv", "y.npz"])
def test_every_form_says_the_same(files, activations, labels):
    found = from_files(files / activations, files / labels)
    assert found.names == ("size", "colour")
    assert found.values == (("l", "s"), ("blue", "red"))
    assert found.labels.tolist() == [[1, 1], [1, 0], [0, 1], [0, 0], [1, 1], [0, 0]]
    assert found.group.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(found.x.numpy(), np.load(files / "x.npy"))


def test_what_does_not_fit_is_refused_at_once(files):
    (files / "short.csv").write_text("size,colour\ns,red\ns,blue\n")
    with pytest.raises(UserError, match="has 3 problems"):
        from_files(files / "x.npy", files / "short.csv")
    for x, y, said in (
        ("x.txt", "y.csv", "wanted a file .npy or .safetensors"),
        ("z.npy", "y.csv", "is no file"),
        ("x.npy", "y.txt", "wanted a file .npz or .csv"),
        ("x.npy", "z.csv", "is no file"),
    ):
        with pytest.raises(UserError, match=said):
            from_files(files / x, files / y)
    np.save(files / "flat.npy", np.zeros(6))
    with pytest.raises(UserError, match=r"have shape \(6,\); wanted one row a sample"):
        from_files(files / "flat.npy", files / "y.csv")


def test_depth_and_class_of_python_tokens():
    spans = nested_classes(Document("a.py", "if f(1, [2]):\n    return 3\n"))
    found = {(span.start, span.parent, span.child) for span in spans}
    assert (0, "depth 0", "keyword") in found
    assert (5, "depth 1", "number") in found
    assert (9, "depth 2", "number") in found
    assert nested_classes(Document("b.py", "def def")) is None


def test_a_model_reads_python_by_depth_and_class(tmp_path):
    for i in range(12):
        (tmp_path / f"{i}.py").write_text("def f(x, y):\n    return [g(1, 2), 3, True]\n\n" * 6)
    found = from_model("specimen", str(tmp_path), None, "nesting", 400, 64, Compute())
    assert found.names == ("depth", "class")
    assert "blocks.0.hook_resid_post" in found.name
    assert {"keyword", "number"} <= set(found.values[1])
    assert len(found.group.unique()) > 3
    assert found.x.shape == (len(found.labels), 128)


def test_a_model_reads_text_by_position_and_class(tmp_path):
    for i in range(12):
        (tmp_path / f"{i}.txt").write_text("The dog and the red cat ran to her house. " * 30)
    found = from_model("specimen", str(tmp_path), None, None, 600, 64, Compute())
    assert found.names == ("position", "class")
    assert len(found.values[0]) == 4
    assert {"animal", "colour"} <= set(found.values[1])


def test_unknown_variables_are_named(tmp_path):
    with pytest.raises(UserError, match="unknown variables 'nestin'.*did you mean 'nesting'"):
        from_model("specimen", "stdlib", None, "nestin", 400, 64, Compute())
