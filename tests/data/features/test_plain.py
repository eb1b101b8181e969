import torch

from monosemy.data.features import plain


def test_parts_are_joined_in_order(law, monkeypatch):
    monkeypatch.setattr(plain, "_ENTRIES", 18 * 40)  # forty samples at a time
    code = plain.draw(law, 100, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    parts = [plain.dense(law, size, generator)[:, :15] for size in (40, 40, 20)]
    assert torch.equal(code.dense(), torch.cat(parts))


def test_gates_are_active_and_are_not_features(law):
    full = plain.dense(law, 2000, torch.Generator().manual_seed(0))
    assert full.shape == (2000, 18)
    assert (full[:, 17] == 1).all()
    assert torch.equal(full[:, 16] > 0, full[:, 7] != 0)
