"""The layer of each part: by its site, or by the number in its name."""

import pytest

from monosemy.dictionaries.foreign.circuit_tracer_layers import by_layer, layer_reasons


@pytest.fixture
def placed(named):
    """Parts by name, each with the site that is given."""

    def make(**sites):
        found = {}
        for part, site in sites.items():
            found[part] = named("transcoder")
            found[part].metadata = {"hook_name": site}
        return found

    return make


def test_sites_come_first_and_names_where_there_is_none(placed):
    parts = placed(k32="blocks.1.mlp.hook_in", k64="blocks.0.mlp.hook_in", layer_2=None)
    assert layer_reasons(parts) == []
    assert list(by_layer(parts)) == [0, 1, 2]
    assert by_layer(parts)[1] is parts["k32"]


@pytest.mark.parametrize(
    ("sites", "words"),
    [
        ({"a": "mlp"}, "the part 'a': no layer is known"),
        ({"a": "blocks.0.x", "b": "blocks.0.x"}, "the parts 'a', 'b' are all of layer 0"),
        ({"a": "blocks.0.x", "b": "blocks.2.x"}, "here the layers 0, 2 are without 1"),
        ({"l0": "blocks.1.x", "l1": "blocks.0.x"}, "the part 'l0' is of layer 1 by its metadata"),
    ],
)
def test_what_is_not_one_of_each_layer(placed, sites, words):
    assert words in layer_reasons(placed(**sites))[0]
