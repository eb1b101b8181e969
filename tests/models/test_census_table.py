"""The table is whole: every entry has a family, a source, and a shape that can be."""

from monosemy.models.census_table import ALIASES, BRAINS, FAMILIES, MODELS


def test_every_model_has_a_family_a_source_and_a_shape():
    for model in MODELS:
        assert model.family in FAMILIES
        assert any(sign.isdigit() for sign in model.source)
        assert model.heads % model.key_heads == 0
        assert min(model.layers, model.width, model.inner, model.vocabulary) > 0


def test_aliases_lead_to_models():
    assert set(ALIASES.values()) <= {model.name for model in MODELS}
    assert not set(ALIASES) & {model.name for model in MODELS}


def test_brains_rise_and_have_sources():
    counts = [brain.neurons for brain in BRAINS]
    assert counts == sorted(counts)
    assert counts[0] == 302
    assert all(brain.source for brain in BRAINS)
