"""Bad input: a message on standard error and exit code 2, never a traceback."""

import subprocess
import sys

import pytest

from monosemy.data.text import split_of
from monosemy.foundation.errors import Interrupted

VERBS = (
    "demo, sites, specimen, capture, train, sweep, evaluate, absorption, probe, sharing, truth, grow, "
    "allocate, census, lab, inspect, convert, doctor"
)
KNOWN = (
    "built in: demo, residual, relu, jumprelu, gated, matryoshka, lista, matching_pursuit, "
    "local, hierarchical, transcoder, skip_transcoder, crosscoder, cross_layer, end_to_end; "
    "or FILE.toml, or FILE.py:FUNCTION"
)


def check_refused(said, message: str) -> None:
    assert said.code == 2, said
    assert message in said.err
    assert "Traceback" not in said.err
    assert said.out == ""


MISTAKES = {
    "verb": ("trian demo", f"unknown verb 'trian'; known: {VERBS}; did you mean 'train'?"),
    "option": ("train --latnts 3", "No such option"),
    "subverb": ("specimen trian", "No such command 'trian'"),
    "model": ("sites ./nowhere", "unknown model './nowhere': no such folder"),
    "model, when training": ("train --model ./nowhere", "unknown model './nowhere'"),
    "model, when planning": ("train --model ./nowhere --dry-run", "unknown model './nowhere'"),
    "recipe": ("train dmeo", f"unknown recipe 'dmeo'; {KNOWN}; did you mean 'demo'?"),
    "recipe file": ("train mine.toml", "no recipe at mine.toml: no such file"),
    "recipe function": ("train mine.py:mine", "no recipe at mine.py: no such file"),
    "key": ("train --set latens=3", "unknown key 'latens'; did you mean 'latents'?"),
    "nested key": ("train --set optim.clp=3", "unknown key 'optim.clp'; did you mean 'optim.clip'?"),
    "key of the demo": ("demo --set latens=3", "unknown key 'latens'; did you mean 'latents'?"),
    "key of the specimen": (
        "specimen train --set neuron=3", "unknown key 'neuron'; did you mean 'neurons'?"
    ),
    "no value": ("train --set latents", "--set 'latents': wanted KEY=VALUE"),
    "value": ("train --latents many", "latents = 'many'; wanted a whole number"),
    "endless value": ("train --latents inf", "latents = 'inf'; wanted a whole number"),
    "range": ("train --set optim.learning_rate=-1", "learning_rate = -1.0; wanted more than 0"),
    "k": ("train --latents 8 --k 9", "k = 9 for 8 latents; wanted 1 <= k <= latents"),
    "k of the demo": ("demo --set latents=8", "k = 16 for 8 latents; wanted 1 <= k <= latents"),
    "selection": ("train --selection topkk", "selection = 'topkk'; known: relu, topk, batchtopk, "),
    "dtype": ("train --dtype float8", "dtype = 'float8'; known: float32, bfloat16, float16"),
    "device": ("train --device qpu", "unknown device 'qpu'"),
    "shape of the specimen": (
        "specimen train --set heads=3", "width = 128 is not a multiple of heads = 3"
    ),
    "run": ("evaluate nowhere", "the run's description is missing: nowhere/run.json"),
    "run to resume": ("train --resume nowhere", "the run's description is missing"),
    "site left out": ("capture --out acts", "Missing option '--site'"),
    "seed that is no number": ("capture --site x --out acts --seed many", "'many' is not a valid"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_refused_in_words(monosemy, tmp_path, words, message):
    check_refused(monosemy(*words.split()), message)
    assert list(tmp_path.iterdir()) == [], "nothing was begun"


def test_several_mistakes_are_told_at_once(monosemy):
    said = monosemy("train", "--k", 0, "--selection", "topkk", "--tokens", 10, "--set", "epochs=0")
    check_refused(said, "this recipe has 3 problems:")
    for reason in ("selection = 'topkk'", "epochs = 0", "batch = 256 is larger than tokens = 10"):
        assert reason in said.err


def test_an_unknown_site_is_refused_with_the_nearest(monosemy, small, model, text):
    for words in (
        ("train", *small, "--site", "blocks.0.mlp.hook_pots"),
        ("train", *small, "--site", "blocks.0.mlp.hook_pots", "--dry-run"),
        ("capture", model, "--text", text, "--site", "blocks.0.mlp.hook_pots", "--out", "acts"),
    ):
        said = monosemy(*words)
        check_refused(said, "did you mean 'blocks.0.mlp.hook_post'?")


def test_text_that_is_no_text_is_refused(monosemy, small, tmp_path):
    names = [name for name in ("a.md", "b.md", "c.md", "d.md") if split_of(name) == "train"]
    path = tmp_path / names[0]
    for content, message in (
        (b"", "no text in"),
        (b" \n ", "no text in"),
        (b"\x7fELF\xff", "is not UTF-8 text"),
        (b"a\0b", "holds a NUL byte at 1: binary, not text"),
    ):
        path.write_bytes(content)
        check_refused(monosemy("train", *small, "--text", path), message)
    check_refused(monosemy("train", *small, "--text", "none.txt"), "unknown text source 'none.txt'")


def test_a_file_where_a_folder_is_wanted_is_refused(monosemy, small, tmp_path):
    (tmp_path / "file").write_text("")
    check_refused(monosemy("train", *small, "--out", "file"), "file is a file; a run is a folder")
    check_refused(monosemy("train", *small, "--out", "file/run"), "Not a directory")
    check_refused(monosemy("evaluate", "file"), "the run's description at file/run.json")
    check_refused(monosemy("sites", "./file"), "is a file; a model is a folder")


def test_an_error_of_the_system_that_names_no_file_is_not_hidden(monosemy, monkeypatch):
    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("monosemy.recipes.catalogue.find_recipe", broken)
    with pytest.raises(OSError, match="Input/output error"):
        monosemy("train")


def test_shards_of_another_site_are_refused(monosemy, small, model, text):
    site = "blocks.0.hook_resid_post"
    assert monosemy("capture", model, "--text", text, "--site", site, "--out", "acts").code == 0
    said = monosemy("train", *small, "--shards", "acts")
    check_refused(said, "blocks.0.mlp.hook_post")
    assert site in said.err
    check_refused(monosemy("train", *small, "--shards", "nowhere"), "nowhere")


def test_another_recipe_in_the_same_folder_is_refused(monosemy, small):
    assert monosemy("train", *small, "--out", "run", "-q").code == 0
    said = monosemy("train", *small, "--out", "run", "--seed", 1)
    check_refused(said, "run holds a run with seed = 0, not 1")
    said = monosemy("train", "--resume", "run", "--site", "blocks.0.hook_resid_post")
    check_refused(said, "run holds a run with ")


@pytest.mark.parametrize("tokens", [0, -3])
def test_a_number_of_tokens_below_one_is_refused(monosemy, small, model, text, tokens):
    site = ("--site", "blocks.0.mlp.hook_post")
    said = monosemy("capture", model, "--text", text, *site, "--out", "acts", "--tokens", tokens)
    check_refused(said, f"tokens is {tokens}; wanted at least 1")
    assert monosemy("train", *small, "--out", "run", "-q").code == 0
    check_refused(monosemy("evaluate", "run", "--tokens", tokens), f"tokens is {tokens}")


def test_errors_with_json_leave_standard_output_empty(monosemy):
    check_refused(monosemy("sites", "./nowhere", "--json"), "unknown model")
    check_refused(monosemy("train", "--json", "--k", 0), "k = 0")


def test_a_stop_has_its_own_code_and_says_how_to_go_on(monosemy, monkeypatch, small):
    for stop, message in (
        (Interrupted("stopped after step 3"), "monosemy: stopped after step 3"),
        (KeyboardInterrupt(), "monosemy: stopped; run the same command again to go on"),
    ):

        def interrupted(*_, error=stop):
            raise error

        monkeypatch.setattr("monosemy.recipes.dictionary.train_dictionary", interrupted)
        said = monosemy("train", *small)
        assert (said.code, said.out) == (130, "")
        assert said.err.strip() == message


def test_in_a_shell_of_its_own(tmp_path):
    """The same through the door that a shell uses."""
    command = [sys.executable, "-m", "monosemy", "trian"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("monosemy: unknown verb 'trian'")
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_early_is_no_error(tmp_path):
    script = "python -m monosemy train --help".replace("python", sys.executable)
    done = subprocess.run(
        ["sh", "-c", f"{{ {script}; echo code $? >&2; }} | true"],
        capture_output=True, text=True, cwd=tmp_path, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
