import numpy as np
import pytest

from monosemy.explanation.archive_synthetic import HOSTILE, synthetic_archive
from monosemy.foundation.errors import UserError


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    sizes = {"features": 40, "contexts": 16, "length": 16, "vocabulary": 80}
    one, again, other = (
        synthetic_archive(tmp_path / name, **sizes, seed=seed).hash
        for name, seed in (("one", 1), ("again", 1), ("other", 2))
    )
    assert one == again != other


def test_its_numbers_agree_with_each_other(synthetic):
    fired, largest = synthetic.column("fired"), synthetic.column("max")
    assert (synthetic.arrays["histogram.counts"].sum(axis=1) == fired).all()
    assert (synthetic.arrays["logits.histogram"].sum(axis=1) == synthetic.vocabulary).all()
    np.testing.assert_allclose(synthetic.column("density"), fired / synthetic.tokens, rtol=1e-6)
    dead = np.flatnonzero(fired == 0)
    assert synthetic.select(wanted=["dead"], limit=None)[1].tolist() == dead.tolist()
    for feature in range(0, synthetic.features, 7):
        examples = synthetic.examples(feature)
        if feature in dead:
            assert examples == []
            continue
        groups = [example.group for example in examples]
        assert groups == [0] * 8 + list(range(10, 0, -1)) + [254] * 2 + [255] * 4
        assert examples[0].value == largest[feature]
        for example in examples:
            if 1 <= example.group <= 10:
                low, high = ((example.group + k) * largest[feature] / 10 for k in (-1, 0))
                assert low < example.value <= high
            if example.group == 255:
                assert example.margin < 0 == example.value


def test_words_that_look_like_markup_are_among_its_words(synthetic):
    words = [synthetic.text(token) for token in range(synthetic.vocabulary)]
    assert set(HOSTILE) < set(words)
    assert len(set(words)) == len(words)


def test_it_fits_a_kilobyte_a_feature(tmp_path):
    archive = synthetic_archive(tmp_path, 4096, contexts=64)
    assert 500 < archive.bytes_per_feature < 1000


def test_too_small_sizes_are_refused(tmp_path):
    with pytest.raises(UserError, match="at least 8 features"):
        synthetic_archive(tmp_path, 3)
