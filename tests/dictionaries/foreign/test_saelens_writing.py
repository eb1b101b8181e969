"""What SAELens can express is written as it would write it; the rest is refused for it."""

import pytest
import torch
from safetensors.torch import load_file

from monosemy.dictionaries import files
from monosemy.dictionaries.foreign import saelens_writing


def test_what_is_saved_is_what_saelens_saved(record, config_of, tmp_path):
    """So SAELens opens it: the same tensors, bit for bit, and the same settings."""
    if record.name.endswith("checkpoint") or record.parent.name == "old":
        pytest.skip("it is saved in the form of today, for use")
    files.save(files.load(record), tmp_path)
    ours, theirs = (load_file(at / files.WEIGHTS) for at in (tmp_path, record))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    here, there = config_of(tmp_path), config_of(record)
    about, wanted = here.pop("metadata"), there.pop("metadata")
    assert wanted.items() <= about.items()
    if there.get("max_iterations", 1) is None:  # where none is said, SAELens takes the width
        there["max_iterations"] = 6
    assert here == there


def test_what_saelens_has_is_not_refused(theirs):
    assert saelens_writing.refuse(theirs) == []


def test_what_it_lacks_is_refused_with_a_reason(ours):
    reasons = saelens_writing.refuse(ours)
    assert reasons
    assert all("SAELens" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("selected", "decoder row (selected), which SAELens does not do with topk"),
        (
            "groupmax",
            "selected by groupmax, which SAELens has for no autoencoder; it has relu, topk",
        ),
        ("centred transcoder", "SAELens' transcoders never subtract b_dec from what they read"),
        (
            "topk transcoder",
            "selected by topk, which SAELens has for no transcoder; it has relu",
        ),
        (
            "constant",
            "normalised first (times 0.3, and back by 0.7), which SAELens' files cannot say",
        ),
        ("crosscoder", "SAELens has no architecture for a crosscoder"),
    ],
)
def test_the_reason_says_what_is_missing(named, kind, reason):
    assert any(reason in why for why in saelens_writing.refuse(named(kind)))
