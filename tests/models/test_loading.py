import json
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.models import loading, sites, tap
from monosemy.models.loading import LoadedModel, load, reinitialised, without_notices
from monosemy.tensors.compute import Compute


@pytest.fixture
def nothing_shipped(tmp_path, monkeypatch):
    """A package whose specimen folder is empty."""
    empty = tmp_path / "specimen"
    empty.mkdir()
    monkeypatch.setattr(loading, "_SPECIMEN_FOLDER", empty)
    return empty


@pytest.fixture
def no_network(monkeypatch):
    """A hub that cannot be reached, and the names it was asked for."""
    import huggingface_hub

    asked = []

    def refuse(name, **options):
        asked.append((name, options))
        raise huggingface_hub.errors.LocalEntryNotFoundError("Cannot find it.\nSecond line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    return asked


def refusal(name) -> str:
    with pytest.raises(UserError) as error:
        load(name)
    return str(error.value)


# --- what is loaded ------------------------------------------------------------------------------


def test_a_folder_is_loaded_as_it_was_saved(folder, gpt2, ids):
    loaded = load(folder)
    assert (loaded.name, loaded.family, loaded.context) == (str(folder), "gpt2", 16)
    assert (loaded.vocabulary, loaded.layers, loaded.width) == (53, 2, 24)
    assert loaded.is_causal
    assert loaded.device == torch.device("cpu")
    assert torch.equal(loaded.model(ids).logits, gpt2(ids).logits)
    assert loaded.tokenizer("w3 w4", add_special_tokens=False)["input_ids"] == [5, 6]
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert loaded.model.config._attn_implementation == "sdpa"


def test_the_precision_is_the_one_asked_for(folder):
    assert load(folder, Compute(dtype="bfloat16")).dtype == torch.bfloat16
    assert load(folder).dtype == torch.float32


def test_an_encoder_has_neither_head_nor_pooler(bert, folder):
    bert.save_pretrained(folder)
    loaded = load(folder)
    assert type(loaded.model).__name__ == "BertModel"
    assert loaded.model.pooler is None
    assert not loaded.is_causal
    again = reinitialised(loaded, 0)
    assert again.model.pooler is None


def test_weights_in_several_files_are_read(folder, gpt2, ids):
    (folder / "model.safetensors").unlink()
    gpt2.save_pretrained(folder, max_shard_size="10KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    assert torch.equal(load(folder).model(ids).logits, gpt2(ids).logits)
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.unlink()
    assert refusal(folder) == f"the weights are incomplete: {shard} does not exist"


def test_the_specimen_is_loaded_from_the_package(folder, monkeypatch):
    monkeypatch.setattr(loading, "_SPECIMEN_FOLDER", folder)
    loaded = load("specimen")
    assert loaded.name == "specimen"
    assert loaded.layers == 2


def test_a_tokenizer_file_alone_is_enough(folder):
    (folder / "tokenizer_config.json").unlink()
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer = load(folder).tokenizer
    assert tokenizer("w3", add_special_tokens=False, return_offsets_mapping=True) is not None
    assert tokenizer.bos_token_id == 0


def test_real_models_are_loaded(shared_data):
    stories = load(shared_data / "models" / "stories260K")
    assert (stories.family, stories.context, stories.vocabulary) == ("llama", 512, 512)
    ids = stories.tokenizer("Once upon a time", return_tensors="pt")["input_ids"]
    text = stories.model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=0)
    assert stories.tokenizer.decode(text[0]).startswith("<s> Once upon a time, there was a little")
    encoder = load(shared_data / "models" / "minilm-l6")
    assert (encoder.family, encoder.dtype, encoder.width) == ("bert", torch.float32, 384)


def test_the_terminal_stays_quiet(folder, capfd):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load(folder)
    reinitialised(load(folder), 0)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_progress_is_reported(folder):
    class Recorder:
        steps: list = []

        @contextmanager
        def task(self, description, total, unit=""):
            self.steps.append((description, total, unit))
            yield self

        def advance(self, amount=1, note=""):
            self.steps.append(amount)

    recorder = Recorder()
    load(folder, progress=recorder)
    assert recorder.steps == [(f"load {folder}", 2, "steps"), 1, 1]


def test_importing_the_floor_does_not_import_transformers():
    code = (
        "import sys; from monosemy.models import loading, sites, tap; "
        "assert 'transformers' not in sys.modules and 'huggingface_hub' not in sys.modules; "
        "assert 'torch' in sys.modules"  # negative control: what is imported is seen
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# --- names ---------------------------------------------------------------------------------------


def test_the_missing_specimen_says_what_to_do(nothing_shipped):
    message = refusal("specimen")
    assert message.startswith(
        "the specimen's files are not whole: install the package again, or train it with "
        "'monosemy specimen train'\n"
    )
    for file in ("config.json does not exist", "model.safetensors does not exist", "tokenizer"):
        assert file in message


def test_a_hub_name_is_asked_of_the_hub_only(no_network):
    message = refusal("owner/name")
    assert message == (
        "model 'owner/name': no folder of that name here, and the Hugging Face hub did not give it "
        "(LocalEntryNotFoundError: Cannot find it. Second line). Check the name and the "
        "connection; or copy the model's folder here and name that; or use 'specimen', which needs "
        "no download"
    )
    name, options = no_network[0]
    assert name == "owner/name"
    assert not any(".bin" in pattern for pattern in options["allow_patterns"])


def test_a_hub_model_is_loaded_from_where_the_hub_put_it(folder, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **_: str(folder))
    assert load("gpt2").name == "gpt2"


@pytest.mark.parametrize("name", ["./models/none", "/models/none", "a/b/c", "~/none", "specimn"])
def test_what_cannot_be_a_hub_name_never_reaches_the_hub(no_network, name):
    message = refusal(name)
    assert message.startswith(
        f"unknown model {name!r}: no such folder; wanted 'specimen', a folder with config.json, or "
        "a name on the Hugging Face hub such as 'gpt2' or 'EleutherAI/pythia-70m'"
    )
    assert ("did you mean 'specimen'?" in message) == (name == "specimn")
    assert not no_network


def test_a_file_is_not_a_model(folder):
    file = folder / "config.json"
    assert refusal(file) == f"{file} is a file; a model is a folder with config.json: {folder}?"


# --- folders that are not whole ------------------------------------------------------------------


def test_every_reason_is_given_at_once(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    message = refusal(tmp_path)
    assert message.startswith(f"the model folder {tmp_path} has 3 problems:\n")
    assert "the model's configuration is missing" in message
    assert "(pytorch_model.bin is pickled and never opened)" in message
    assert f"the tokenizer is missing: {tmp_path} holds none of tokenizer.json" in message


def test_truncated_weights_are_named(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert refusal(folder).startswith(f"{path} ({path.stat().st_size:,} bytes) is truncated or no")


def test_a_model_type_nobody_knows_is_named(folder):
    rewrite(folder, model_type="gpt22")
    assert "does not know the model type 'gpt22'; did you mean 'gpt" in refusal(folder)
    rewrite(folder, model_type=None)
    assert "names no 'model_type'; wanted one such as 'gpt2'" in refusal(folder)


def rewrite(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_weights_that_are_not_all_there_are_refused(folder):
    rewrite(folder, n_layer=3)  # transformers alone would fill the third layer with random numbers
    assert refusal(folder) == (
        f"weights that {folder / 'config.json'} wants are missing: transformer.h.2.attn.c_attn.bias"
        ", transformer.h.2.attn.c_attn.weight, transformer.h.2.attn.c_proj.bias and 9 more"
    )


def test_weights_of_another_shape_and_a_foreign_tokenizer_are_refused_at_once(folder):
    rewrite(folder, n_inner=32, vocab_size=40)
    message = refusal(folder)
    assert message.startswith(f"the model folder {folder} has 2 problems:\n")
    assert f"another shape than {folder / 'config.json'} says: transformer.h.0.mlp.c_fc" in message
    assert (
        f"the tokenizer in {folder} has 53 tokens but the model embeds only 40; they do not belong "
        "together" in message
    )


def test_a_broken_tokenizer_is_named(folder):
    (folder / "tokenizer.json").write_text("not JSON")
    assert refusal(folder).startswith(f"the tokenizer in {folder} cannot be opened: ")


def test_a_broken_index_is_refused(folder):
    (folder / "model.safetensors.index.json").write_text("{}")
    assert "is no index of weights" in refusal(folder)


def test_a_model_that_generates_nothing_is_refused(folder):
    rewrite(folder, model_type="vit")
    assert refusal(folder).startswith(
        f"the model in {folder} cannot be opened as 'vit', a causal language model or an encoder: "
    )


def test_notices_are_silent_until_the_last_thread_is_done():
    from transformers.utils import logging

    before = logging.get_verbosity()
    inside, leave = threading.Event(), threading.Event()

    def work():
        with without_notices():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=work)
    with without_notices():
        thread.start()
        inside.wait()
    assert logging.get_verbosity() == logging.ERROR != before
    leave.set()
    thread.join()
    assert logging.get_verbosity() == before


def test_written_out_activations_are_replaced(folder):
    rewrite(folder, activation_function="gelu_new")
    for loaded in (load(folder), reinitialised(load(folder), 0)):
        acts = {type(block.mlp.act) for block in loaded.model.transformer.h}
        assert acts == {torch.nn.GELU}


# --- the control that knows nothing --------------------------------------------------------------


def weights(loaded: LoadedModel) -> torch.Tensor:
    return torch.cat([p.flatten() for p in loaded.model.parameters()])


def test_reinitialised_weights_depend_on_the_seed_alone(folder):
    loaded = load(folder)
    first = reinitialised(loaded, 1)
    torch.manual_seed(99)
    assert torch.equal(weights(first), weights(reinitialised(loaded, 1)))
    assert not torch.equal(weights(first), weights(reinitialised(loaded, 2)))
    assert not torch.equal(weights(first), weights(loaded))


def test_reinitialised_leaves_the_random_state_and_the_original_alone(folder):
    loaded = load(folder)
    before = weights(loaded).clone()
    torch.manual_seed(5)
    state = torch.get_rng_state()
    reinitialised(loaded, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(weights(loaded), before)
    torch.randn(1)
    assert not torch.equal(torch.get_rng_state(), state)  # negative control


def test_reinitialised_is_the_same_architecture(folder, ids):
    loaded = load(folder, Compute(dtype="bfloat16"))
    fresh = reinitialised(loaded, 3)
    assert fresh.name == f"{folder} (re-initialised, seed 3)"
    assert fresh.tokenizer is loaded.tokenizer
    assert fresh.dtype == torch.bfloat16
    assert not fresh.model.training
    assert not any(p.requires_grad for p in fresh.model.parameters())
    assert sites.listing(fresh.model) == sites.listing(loaded.model)
    site = sites.resolve(fresh.model, "blocks.1.mlp.hook_post")
    assert tap.read(fresh.model, [site], ids)[site.name].shape == (3, 7, 40)


def test_reinitialised_follows_the_configurations_own_start(folder):
    rewrite(folder, initializer_range=0.5)
    wide = reinitialised(load(folder), 0).model
    assert wide.transformer.wte.weight.std() == pytest.approx(0.5, rel=0.1)
    assert wide.lm_head.weight is wide.transformer.wte.weight
    rewrite(folder, initializer_range=0.02)
    narrow = reinitialised(load(folder), 0).model
    assert narrow.transformer.wte.weight.std() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(narrow.transformer.ln_f.weight, torch.ones(24))
