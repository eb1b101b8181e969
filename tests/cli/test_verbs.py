"""What each verb does, on a model so small that all of them together take seconds."""

import json

import pytest

from monosemy.recipes.catalogue import RECIPES
from monosemy.recipes.config import keys_of
from monosemy.recipes.recipe import DictionaryRecipe

SITE = "blocks.0.mlp.hook_post"


def value_of(said):
    """The one JSON value that was printed."""
    assert said.code == 0, said.err
    return json.loads(said.out)


# --- sites ---------------------------------------------------------------------------------------


def test_sites_lists_places_with_their_widths(monosemy, model):
    found = value_of(monosemy("sites", model, "--json"))
    widths = {site["name"]: site["width"] for site in found["sites"]}
    assert widths[SITE] == 32
    assert widths["blocks.0.hook_resid_post"] == 16
    table = monosemy("sites", model)
    assert table.code == 0
    for name in widths:
        assert name in table.out


def test_sites_can_be_narrowed_by_a_pattern(monosemy, model):
    found = value_of(monosemy("sites", model, "--match", "blocks.*.hook_resid_*", "--json"))
    names = [site["name"] for site in found["sites"]]
    assert names
    assert all("hook_resid_" in name for name in names)


# --- capture -------------------------------------------------------------------------------------


def test_capture_writes_shards_of_several_sites(monosemy, model, text, tmp_path):
    words = ("capture", model, "--text", text, "--out", "acts", "--tokens", 300, "--context", 16)
    sites = ("--site", SITE, "--site", "blocks.0.hook_resid_*")
    found = value_of(monosemy(*words, *sites, "--json"))
    assert found["tokens"] == 300
    assert found["sites"][SITE] == 32
    assert found["sites"]["blocks.0.hook_resid_post"] == 16
    size = sum(path.stat().st_size for path in (tmp_path / "acts").rglob("*") if path.is_file())
    assert found["bytes"] == size
    again = monosemy(*words, *sites)
    assert again.code == 0
    assert "300 activations" in again.out
    assert "--shards acts" in again.out


# --- train ---------------------------------------------------------------------------------------


def test_train_writes_a_run_and_says_what_is_next(monosemy, small, tmp_path):
    said = monosemy("train", *small)
    assert said.code == 0, said.err
    assert "32 latents on" in said.out
    assert "Measure it: monosemy evaluate runs/demo" in said.out
    assert (tmp_path / "runs" / "demo" / "dictionary" / "cfg.json").exists()
    assert "train: 512 of 512 tokens" in said.err, "progress where nobody watches a bar"


def test_train_with_json_says_nothing_else(monosemy, small):
    said = monosemy("train", *small, "--json", "--out", "run")
    found = value_of(said)
    assert (found["latents"], found["width"], found["hook_name"]) == (32, 32, SITE)
    assert found["dictionary"] == "run/dictionary"
    assert said.err == ""


def test_train_goes_on_with_a_run(monosemy, small, tmp_path):
    assert monosemy("train", *small, "--out", "run", "-q").code == 0
    written = (tmp_path / "run" / "dictionary" / "sae_weights.safetensors").read_bytes()
    found = value_of(monosemy("train", "--resume", "run", "--json"))
    assert found["run"] == "run"
    assert (tmp_path / "run" / "dictionary" / "sae_weights.safetensors").read_bytes() == written


def test_a_recipe_may_be_a_file(monosemy, small, tmp_path):
    (tmp_path / "mine.toml").write_text("epochs = 2\nlatents = 999\n")
    (tmp_path / "mine.py").write_text(
        "from monosemy.recipes.recipe import DictionaryRecipe\n"
        "def twice():\n    return DictionaryRecipe(epochs=2)\n"
    )
    for recipe in ("mine.toml", "mine.py:twice"):
        made = value_of(monosemy("train", recipe, *small, "--dry-run", "--json"))
        assert made["recipe"]["epochs"] == 2
        assert made["recipe"]["latents"] == 32, "flags come last"


def test_the_run_of_a_file_is_called_after_it(monosemy, small, tmp_path):
    (tmp_path / "mine.toml").write_text("")
    assert monosemy("train", "mine.toml", *small, "-q").code == 0
    assert (tmp_path / "runs" / "mine" / "run.json").exists()


def test_a_dry_run_trains_nothing(monosemy, small, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "monosemy.recipes.dictionary.train_dictionary", lambda *_: pytest.fail("it trained")
    )
    monkeypatch.setattr("monosemy.training.loop.advance", lambda *_: pytest.fail("it trained"))
    said = monosemy("train", *small, "--dry-run")
    assert said.code == 0
    assert list(tmp_path.iterdir()) == []
    for part in ("steps       16", "32 latents, batchtopk, k = 4", "memory", "time", "disk"):
        assert part in said.out
    made = value_of(monosemy("train", *small, "--dry-run", "--json"))
    assert made["steps"] == 16
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_is_a_run_when_it_is_not_dry(monosemy, small, monkeypatch):
    """The control of the test above: without the flag, what it forbids is called."""
    called = []

    def seen(*arguments):
        called.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("monosemy.recipes.dictionary.train_dictionary", seen)
    assert monosemy("train", *small).code == 130
    assert len(called) == 1


def test_the_list_of_recipes_has_every_recipe_and_every_key(monosemy):
    said = monosemy("train", "--list")
    assert said.code == 0
    for name in (*RECIPES, *keys_of(DictionaryRecipe)):
        assert name in said.out
    found = value_of(monosemy("train", "--list", "--json"))
    assert found == {"recipes": list(RECIPES), "keys": keys_of(DictionaryRecipe)}


def test_every_shortcut_is_a_field_and_reaches_it(monosemy, small, text):
    from monosemy.cli.train import SHORTCUTS

    assert set(SHORTCUTS) <= set(keys_of(DictionaryRecipe))
    changed = {"site": "blocks.0.hook_resid_post", "epochs": 3, "selection": "topk", "seed": 5}
    words = [word for name, value in changed.items() for word in (f"--{name}", value)]
    made = value_of(monosemy("train", *small, *words, "--dry-run", "--json"))["recipe"]
    assert {name: made[name] for name in changed} == changed
    assert made["text"] == str(text)


def test_set_wins_over_a_shortcut(monosemy, small):
    words = ("--seed", 1, "--set", "seed=2", "--dry-run", "--json")
    assert value_of(monosemy("train", *small, *words))["recipe"]["seed"] == 2


# --- evaluate and demo ---------------------------------------------------------------------------


def test_evaluate_prints_a_table_and_json_is_the_same(monosemy, small, tmp_path):
    assert monosemy("train", *small, "--out", "run", "-q").code == 0
    found = value_of(monosemy("evaluate", "run", "--json", "--out", "measured.json"))
    assert json.loads((tmp_path / "measured.json").read_text()) == found
    assert set(found["controls"]) == {"neurons", "pca", "random", "random_model"}
    said = monosemy("evaluate", "run", "--no-random-model", "-q")
    assert said.code == 0
    assert said.err == ""
    assert f"{found['metrics']['l0']['value']:.1f}"[:2] in said.out
    assert "random_model" not in value_of(
        monosemy("evaluate", "run", "--no-random-model", "--json")
    )["controls"]  # fmt: skip


def test_the_demo_shows_numbers_features_and_a_page(monosemy, small, tmp_path):
    flags = dict(zip(small[::2], small[1::2], strict=True))
    sets = [
        f"{name.removeprefix('--')}={value}" for name, value in flags.items() if name != "--set"
    ]
    words = [word for pair in (*sets, "context=16", "block=128") for word in ("--set", pair)]
    said = monosemy("demo", "--out", "demo", *words, "-q")
    assert said.code == 0, said.err
    assert str(tmp_path / "demo" / "report.html") in said.out.replace("\n", "")
    report = json.loads((tmp_path / "demo" / "report.json").read_text())
    for feature in report["features"]:
        assert str(feature["id"]) in said.out
    again = value_of(monosemy("demo", "--out", "demo", *words, "--json"))
    assert again["metrics"] == report["metrics"]


# --- specimen ------------------------------------------------------------------------------------


def test_the_specimen_can_be_sampled(monosemy, model):
    words = ("specimen", "sample", "def ", "--model", model, "--tokens", 5)
    found = value_of(monosemy(*words, "--json"))
    assert found["prompt"] == "def "
    assert found["text"].startswith("def ")
    assert monosemy(*words).out == found["text"] + "\n"
    assert value_of(monosemy(*words, "--seed", 1, "--json")) != found


def test_the_specimen_can_be_trained(monosemy, monkeypatch, tmp_path):
    from monosemy.recipes import specimen

    def instead(recipe, out, progress):
        assert (recipe.steps, recipe.optim.clip) == (7, 0.5)
        return {"cross_entropy": {"specimen": 1.0, "bigram": 2.0, "unigram": 3.0}}

    monkeypatch.setattr(specimen, "train_specimen", instead)
    words = ("specimen", "train", "--out", "it", "--set", "steps=7", "--set", "optim.clip=0.5")
    said = monosemy(*words)
    assert said.out == (
        "held-out cross-entropy 1.000 nats a token (bigram 2.000, unigram 3.000): it/model\n"
    )
    assert value_of(monosemy(*words, "--json"))["cross_entropy"]["bigram"] == 2.0


# --- doctor --------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """Measures little."""
    from monosemy.recipes import speeds

    sizes = {"WIDTH": 16, "LATENTS": 128, "BATCH": 64, "K": 4, "COPIED": 1 << 20, "_LONG": 0.0}
    for name, value in sizes.items():
        monkeypatch.setattr(speeds, name, value)


def test_the_doctor_says_what_is_in_use_and_why(monosemy, quick):
    found = value_of(monosemy("doctor", "--json"))
    said = monosemy("doctor")
    assert said.code == 0
    assert "measure cpu: 5 of 5 readings" in said.err
    for text in (
        f"torch {found['versions']['torch']}",
        found["processor"]["name"],
        f"torch {found['threads']['torch']}, workers",
        f"cpu float32    {found['kernels'][0]['kernels']}",
        found["kernels"][0]["reason"],
        "GFLOP/s in float32",
        "a training step",
        "datasets: ",
        found["cache"]["folder"],
        "specimen   found",
        "to do      ",
    ):
        assert text in said.out
    absent = [row["device"] not in found["devices"] for row in found["kernels"]]
    assert said.out.count("(not here)") == sum(absent)


def test_the_doctor_tells_what_to_do_and_that_is_no_error(monosemy, quick, monkeypatch):
    from monosemy.recipes import speeds

    def broken(*_):
        raise RuntimeError("cannot cache function")

    monkeypatch.setattr(speeds, "advance_program", broken)
    monkeypatch.setattr("monosemy.recipes.doctor.OPTIONAL", {"no_such": ("this", "pip install it")})
    said = monosemy("doctor", "-q")
    assert (said.code, said.err) == (0, "")
    problem = "RuntimeError: cannot cache function"
    assert f"speeds     cpu: {problem}" in said.out
    assert f"to do      measuring failed on cpu: {problem}" in said.out
    assert "no_such: not installed (this); pip install it" in said.out
