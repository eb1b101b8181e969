"""What the estimate is made of, that it bounds runs, and (slowly) that it is true."""

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from monosemy.data.text import open_corpus
from monosemy.foundation.errors import UserError
from monosemy.recipes import memory
from monosemy.recipes.dictionary import train_dictionary
from monosemy.recipes.memory import MIB, Reading, estimate, keep_within, libraries
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import load_places, reading_of
from monosemy.training.end_to_end import EndToEndConfig
from monosemy.training.local_config import LocalConfig
from monosemy.training.objectives import ObjectiveConfig

WIDE = (512,)
READING = Reading(1_000_000, WIDE, WIDE, sample=16_384, row_bytes=2048)


@pytest.fixture
def asked() -> DictionaryRecipe:
    objective = ObjectiveConfig()
    return DictionaryRecipe(
        latents=2**14, batch=1024, k=32, selection="topk", precision="float32", objective=objective
    )


@pytest.fixture(autouse=True)
def _known_libraries(request, monkeypatch):
    if "libraries" not in request.node.name:
        monkeypatch.setattr(memory, "libraries", lambda device: 500)


def test_parameters_gradients_and_moments_are_counted_exactly(asked):
    parts = estimate(asked, READING)
    matrix = 2**14 * 512 * 4 // MIB
    assert parts["dictionary"] == 2 * matrix * 4
    assert parts["passing"] == 2 * matrix * 3, "a checkpoint holds no gradients"
    assert parts["total"] == sum(size for name, size in parts.items() if name != "total")


def test_no_part_grows_with_batch_times_latents(asked):
    before = estimate(asked, READING)["step"]
    assert estimate(replace(asked, latents=2**20), READING)["step"] == before
    assert estimate(replace(asked, batch=2048), READING)["step"] < 2 * before
    # ReLU begins with half of all entries active, which no tile helps against.
    relu = [
        estimate(replace(asked, selection="relu", latents=latents), READING)["step"]
        for latents in (2**14, 2**20)
    ]
    assert relu[1] > 32 * relu[0]


def test_proposals_hold_half_a_matrix_more(asked):
    without = estimate(asked, READING)["step"]
    proposing = estimate(replace(asked, precision="bfloat16"), READING)["step"]
    assert proposing - without == 2**14 * 512 * 2 // MIB


@pytest.mark.parametrize("pays", [True, False])
def test_auto_proposes_where_it_pays(asked, monkeypatch, pays):
    monkeypatch.setattr(memory.routes, "multiplies_bfloat16", lambda device: pays)
    wanted = replace(asked, precision="bfloat16" if pays else "float32")
    assert estimate(replace(asked, precision="auto"), READING) == estimate(wanted, READING)


def test_the_block_counts_in_its_own_precision_and_no_further_than_the_text(asked):
    sample = 16_384 * 512 * 4 / MIB
    for reading, rows, size in (
        (READING, 131_072, 2048), (replace(READING, row_bytes=1024), 131_072, 1024),
        (replace(READING, tokens=50_000), 50_000, 2048),
    ):  # fmt: skip
        found = estimate(asked, reading)["activations"]
        assert found == pytest.approx(rows * (size + 16) / MIB + sample, abs=1)


def test_a_start_larger_than_the_training_counts(asked):
    eight = (8192,)
    wide = replace(READING, read=eight, written=eight)
    parts = estimate(replace(asked, latents=64, batch=32), wide)
    looked = 16_384 * 8192 * 4 // MIB
    assert parts["passing"] == pytest.approx(
        2 * looked - parts["dictionary"] - parts["step"], abs=2
    )


def test_more_active_entries_take_more(asked):
    more = replace(asked, objective=ObjectiveConfig(k_start=256))
    assert estimate(more, READING)["step"] > estimate(asked, READING)["step"] + 20
    batch = replace(asked, selection="batchtopk")
    assert estimate(batch, READING)["step"] > estimate(asked, READING)["step"]


def test_what_learns_from_predictions_holds_tables_of_them(asked):
    reading = replace(READING, vocabulary=50_000)
    more = replace(asked, end_to_end=EndToEndConfig(loss="kl"))
    grown = estimate(more, reading)["step"] - estimate(asked, reading)["step"]
    assert grown == pytest.approx(5 * 4 * 1024 * 50_000 / MIB, abs=1)


@pytest.mark.parametrize("charts", [0, 64])
def test_residuals_that_charts_are_found_from_count_and_are_in_the_checkpoint(asked, charts):
    config = LocalConfig(children=4, charts=charts, rank=4, samples=32, depth=3)
    local = replace(asked, latents=1024, selection="batchtopk", encoder="local", local=config)
    parts = estimate(local, READING)
    bank = 4096 * 32 * 512 * 4 / MIB  # of the bearers of the last level
    recent, factors = 16 * 1024 * 512 * 4 / MIB, 2 * 4096 * 512 * 8 * 4 / MIB
    assert parts["charts"] == pytest.approx(bank + recent + factors, abs=1)
    bearers = 1024 * 5 if charts == 0 else 64 * 2
    learned = 2 * 1024 * 512 + bearers * 4 * 512 + (1024 + 4096) * 4 * 4
    assert parts["dictionary"] == pytest.approx(4 * 4 * learned / MIB, abs=1)
    assert parts["passing"] == pytest.approx(3 * 4 * learned / MIB + bank + recent, abs=1)
    assert estimate(asked, READING)["charts"] == 0
    with pytest.raises(UserError, match="local.samples"):
        keep_within(replace(local, memory=600), READING)


def test_a_model_and_its_text_are_looked_at(recipe):
    places, corpus = load_places(recipe), open_corpus(recipe.text)
    reading = Reading.of_models(places.models, places.widths, corpus, 512, 100)
    parameters = sum(p.numel() for p in places.loaded.model.parameters())
    assert reading.model_bytes == 4 * parameters
    assert (reading.width, reading.row_bytes, reading.tokens) == (32, 128, 512)
    assert reading.together == corpus.characters, "all are tokenised together"
    assert reading.longest == max(len(document.text) for document in corpus.documents)
    assert reading.text_bytes > corpus.characters


def test_tokenising_large_documents_counts_for_the_peak(asked):
    books = replace(READING, model_bytes=1, together=24_000_000, longest=1_000_000)
    parts, without = estimate(asked, books), estimate(asked, replace(READING, model_bytes=1))
    assert parts["text"] - without["text"] > 500
    small = replace(asked, latents=64, block=1000)
    assert estimate(small, books)["passing"] > 300


# --- the bound -----------------------------------------------------------------------------------


def test_a_run_that_is_too_large_is_refused_with_what_to_lower(asked):
    total = estimate(asked, READING)["total"]
    keep_within(replace(asked, memory=total), READING)
    keep_within(replace(asked, memory=None), READING)
    parts = estimate(asked, READING)
    with pytest.raises(UserError) as refused:
        keep_within(replace(asked, memory=total - 1), READING)
    assert str(refused.value) == (
        f"this run would take about {total:,} MiB, and memory = {total - 1:,} allows less; lower "
        f"latents (dictionary and passing: {parts['dictionary'] + parts['passing']:,} MiB); "
        f"block (activations: {parts['activations']:,} MiB); or raise memory"
    )


def test_on_an_accelerator_its_own_memory_is_bounded(asked):
    parts = estimate(asked, READING)
    recipe = replace(asked, device="mps")
    on_device = sum(estimate(recipe, READING)[name] for name in memory.ON_DEVICE)
    assert on_device < parts["total"] - 500
    keep_within(replace(recipe, memory=on_device), READING)
    with pytest.raises(UserError, match=f"would take about {on_device:,} MiB"):
        keep_within(replace(recipe, memory=on_device - 1), READING)


def test_a_training_is_refused_before_it_begins(recipe, tmp_path):
    with pytest.raises(UserError, match=r"would take about \d+ MiB, and memory = 400 allows less"):
        train_dictionary(replace(recipe, memory=400), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_bound_is_no_part_of_the_result(recipe, tmp_path):
    train_dictionary(replace(recipe, memory=10_000), tmp_path / "run")
    train_dictionary(replace(recipe, memory=20_000), tmp_path / "run")
    saved = json.loads((tmp_path / "run" / "run.json").read_text())
    assert saved["configuration"]["memory"] is None


@pytest.mark.parametrize("bound", [0, -5])
def test_a_bound_below_one_is_refused(recipe, tmp_path, bound):
    with pytest.raises(UserError, match=f"memory = {bound}; wanted at least 1"):
        train_dictionary(replace(recipe, memory=bound), tmp_path / "run")


# --- the libraries, and the truth ----------------------------------------------------------------


def test_libraries_are_measured_in_a_fresh_process():
    libraries.cache_clear()
    found = libraries()
    assert memory._REST_MIB + 100 < found < 4000
    ballast = torch.ones(64 * MIB)  # a quarter of a GiB, which is none of theirs
    libraries.cache_clear()
    assert abs(libraries() - found) < 30
    assert ballast.sum() > 0


def test_libraries_are_known_where_no_process_can_be_asked(monkeypatch):
    libraries.cache_clear()
    monkeypatch.setattr(sys, "executable", "no-such-python")
    assert libraries() == memory._TORCH_MIB + memory._REST_MIB
    libraries.cache_clear()


TRAIN = """
import json, sys
from pathlib import Path
from monosemy.recipes.config import override
from monosemy.recipes.dictionary import train_dictionary
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import load_places, reading_of
train_dictionary(override(DictionaryRecipe(), json.loads(sys.argv[1])), sys.argv[2])
status = Path("/proc/self/status").read_text().splitlines()
print(next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.parametrize("latents", [512, 2**17])
def test_the_estimate_of_libraries_and_all_is_true(recipe, tmp_path, latents):
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of a process is read from /proc")
    recipe = replace(recipe, latents=latents, checkpoint=100)
    reading = reading_of(load_places(recipe), open_corpus(recipe.text), 512)
    planned = estimate(recipe, reading)["total"]
    order = {key: value for key, value in asdict(recipe).items() if value is not None}
    order["optim"]["betas"] = list(order["optim"]["betas"])
    order["objective"] = {k: v for k, v in order["objective"].items() if v not in (None, ())}
    command = [sys.executable, "-c", TRAIN, json.dumps(order), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert planned == pytest.approx(int(done.stdout), rel=0.15)
