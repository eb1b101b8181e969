"""``monosemy truth``: words in, a table, JSON or a refusal out; and training on a world."""

import json

import pytest

WORLD = "conditional-rotated"
SMALL = ("--tokens", 10_240, "--samples", 2_000, "--latents", 60)


def test_worlds_and_dictionaries_are_listed(monosemy):
    done = monosemy("truth", "worlds")
    for name in (WORLD, "synthsaebench-16k", "matryoshka", "oracle", "probe"):
        assert name in done.out
    found = json.loads(monosemy("truth", "worlds", "--json").out)
    assert WORLD in found["worlds"]
    assert all(about for about in found["dictionaries"].values())


def test_a_cell_as_json_and_in_lines(monosemy, tmp_path):
    words = ("truth", "run", WORLD, "--dictionary", "topk", "--seed", 1, *SMALL)
    done = monosemy(*words, "--json", "--out", "cell")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    wanted = {"world", "dictionary", "parameters", "l0", "f1", "mcc", "uniqueness", "parent_f1",
              "child_f1", "silent_parent_rate", "fvu"}  # fmt: skip
    assert wanted <= found.keys()
    assert found == json.loads((tmp_path / "cell" / "cell.json").read_text())
    inspected = monosemy("inspect", "cell/dictionary", "--json")
    assert json.loads(inspected.out)["parts"][""]["semantics"]["latents"] == 60
    lines = monosemy(*words, "--out", "cell").out.splitlines()
    assert lines[0].startswith(f"topk on {WORLD}, seed 1: 60 latents")
    assert any(line.split()[0] == "child_f1" for line in lines)


def test_a_table(monosemy, tmp_path):
    words = (
        "truth",
        "table",
        WORLD,
        "--dictionary",
        "topk",
        "--dictionary",
        "oracle",
        "--seeds",
        2,
    )
    done = monosemy(*words, *SMALL)
    assert done.code == 0, done.err
    assert "Means over 2 seeds" in done.out
    assert "4 of 4 cells" in done.err
    folder = tmp_path / "truth" / WORLD
    assert (folder / "table.svg").exists()
    again = monosemy(*words, *SMALL, "--json")
    assert json.loads(again.out) == json.loads((folder / "table.json").read_text())


def test_training_on_a_world(monosemy):
    small = ("--tokens", 2048, "--latents", 64, "--set", f"world={WORLD}")
    plan = json.loads(monosemy("train", *small, "--dry-run", "--json").out)
    assert plan["site"] == {"name": f"world {WORLD}", "width": 48}
    assert plan["seconds"]["reading"] >= 0
    said = monosemy("train", *small, "--dry-run").out
    assert f"model       none, world {WORLD} (48 wide)" in said
    done = monosemy("train", *small, "--out", "run")
    assert done.code == 0, done.err
    assert f"64 latents on world {WORLD}: run/dictionary" in done.out
    about = json.loads(monosemy("inspect", "run/dictionary", "--json").out)
    assert WORLD in json.dumps(about)
    refused = monosemy("evaluate", "run")
    assert refused.code == 2
    assert f"monosemy truth run {WORLD}" in refused.err


MISTAKES = {
    "world": ("truth run conditional-rotatd", "did you mean 'conditional-rotated'"),
    "kind": (f"truth run {WORLD} --dictionary tpk", "unknown dictionary 'tpk'"),
    "l0": (f"truth run {WORLD} --l0 9 --latents 8", "l0 = 9 for 8 latents"),
    "seeds": (f"truth table {WORLD} --seeds 0", "seeds = 0; wanted at least 1"),
    "setting": (f"truth run {WORLD} --set latens=3", "unknown key 'latens'"),
    "no value": (f"truth run {WORLD} --set latents", "wanted KEY=VALUE"),
    "subverb": ("truth rnu", "No such command 'rnu'"),
    "shards": (f"train --set world={WORLD} --shards x", "draws its samples, shards hold others"),
    "end to end": (
        f"train --set world={WORLD} --set end_to_end.loss=kl", "has no model behind it, which end_to"
    ),
    "structure": (
        f"train --set world={WORLD} --structure crosscoder", "has one place; structure ="
    ),
    "random model": (f"train --set world={WORLD} --set random_model=1", "random_model = 1"),
    "sweep": (f"sweep --set world={WORLD} --over k=2,3", "see: monosemy truth table"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_refused_in_words(monosemy, tmp_path, words, message):
    said = monosemy(*words.split())
    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert list(tmp_path.iterdir()) == [], "nothing was begun"
