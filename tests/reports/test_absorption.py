"""Absorption in the terminal."""

from rich.console import Console

from monosemy.reports.absorption import absorption_report


def number(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def made(counted=1):
    label = {
        "label": "keyword", "probe_f1": 0.98, "tokens": 1234, "latents": [3, 5], "f1": [0.7, 0.8, 0.81],
        "absorption_fraction": number(0.31, 0.3, 0.4), "full_absorption": number(0.25, 0.2, 0.3),
        "children": [
            {"name": "def", "tokens": 900, "absorption_fraction": 0.1, "full_absorption": 0.0,
             "absorber": None},
            {"name": "not", "tokens": 300, "absorption_fraction": 0.9, "full_absorption": 0.8,
             "absorber": 77},
        ],
    }  # fmt: skip
    measured = {
        "hierarchy": "python", "counted": counted, "left_out": {"number": "the probe's F1 is 0.30"},
        "metrics": {"absorption_fraction": number(0.31, 0.3, 0.4), "split_latents": number(2.0),
                    "full_absorption": number(None)},
        "labels": [label] * counted,
    }  # fmt: skip
    return {
        "hierarchy": "python", "site": "blocks.0.mlp.hook_post",
        "tokens": {"fitted_on": 10, "held_out": 4321}, "documents": {"held_out": 57},
        "dictionary": {"latents": 9, "l0": 16.24}, "absorption": measured,
        "controls": {"pca": measured},
    }  # fmt: skip


def written(found, width=100):
    console = Console(width=width, record=True, file=None)
    with console.capture() as caught:
        console.print(absorption_report(found))
    return caught.get()


def test_it_says_what_was_measured_and_on_what():
    said = " ".join(written(made()).split())
    for part in (
        "python on blocks.0.mlp.hook_post: 1 labels count, 1 do not", "4,321 labelled tokens",
        "57 held-out documents", "L0 16.2", "0.310", "0.300–0.400", "pca", "keyword 1,234 0.98 2 0.80",
        "not 80% (77)", "number does not count: the probe's F1 is 0.30",
    ):  # fmt: skip
        assert part in said, part
    assert "def 0%" not in said


def test_what_is_not_defined_is_a_dash():
    assert "–" in written(made()).split("full absorption")[1].splitlines()[0]


def test_it_fits_a_narrow_terminal_and_no_labels():
    narrow = made()
    narrow["controls"] = dict.fromkeys(("neurons", "pca", "random"), narrow["absorption"])
    said = written(narrow, 80)
    assert max(map(len, said.splitlines())) <= 80
    assert said.count("0.300–0.400") == 4, "no interval is cut off"
    assert "0 labels count" in written(made(0))
