"""From text (or from its cached activations) to a trained dictionary, by SAELens' runner."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from peers.whole_ours import explained
from peers.worker import peak_mib, private_answers

# Contexts that the model reads at once; its default.
PROMPTS = 32


def main() -> None:
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    answer = private_answers()
    answer({"capture": capture, "train": train}[order["do"]](order))


def capture(order: dict) -> dict:
    """Its own cache of activations, of the whole training text. Not timed against ours."""
    from sae_lens import CacheActivationsRunner, CacheActivationsRunnerConfig

    began = time.perf_counter()
    config = CacheActivationsRunnerConfig(
        dataset_path="", model_name=order["model"], model_class_name="AutoModelForCausalLM",
        model_from_pretrained_kwargs={"dtype": torch.float32}, hook_name=order["module"],
        d_in=order["width"], training_tokens=order["tokens"], context_size=order["context"],
        model_batch_size=PROMPTS, device="cpu", prepend_bos=False, streaming=False,
        new_cached_activations_path=order["cache"],
        # One buffer is always filled, however few tokens are wanted; its default is 2 GB.
        buffer_size_gb=4 * order["width"] * 2 * PROMPTS * order["context"] / 1e9,
    )  # fmt: skip
    CacheActivationsRunner(config, override_dataset=documents(order)).run()
    return {"capture_seconds": round(time.perf_counter() - began, 2)}


def train(order: dict) -> dict:
    import sae_lens

    texts = documents(order)
    model = hooked(order) if order["cache"] else None  # it asks for one, and then does not run it
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        runner = sae_lens.LanguageModelSAETrainingRunner(
            configuration(order, folder),
            override_dataset=texts,
            override_model=model or hooked(order),
        )
        sae = runner.run()
        seconds = time.perf_counter() - began
        peak = peak_mib()
        # What its runner leaves for use: BatchTopK as a threshold, norms folded.
        sae = sae_lens.SAE.load_from_disk(f"{folder}/out", device="cpu").eval()
    with torch.no_grad():
        rows = torch.load(order["rows"], weights_only=True)
        code = sae.encode(rows)
        back = sae.decode(code)
    return {
        "seconds": seconds,
        "tokens": runner.cfg.total_training_steps * order["batch"],
        "peak_mib": peak,
        "l0": float((code != 0).sum(1).float().mean()),
        "explained_variance": explained(rows, back),
    }


def documents(order: dict):
    from datasets import Dataset

    texts = json.loads(Path(order["documents"]).read_text(encoding="utf-8"))
    return Dataset.from_dict({"text": texts})


def hooked(order: dict):
    """The model as its runner loads it, or without the layers and the head that nobody reads."""
    from sae_lens.load_model import HookedProxyLM
    from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(order["model"])
    kind = AutoModel if order["cut"] else AutoModelForCausalLM
    model = kind.from_pretrained(order["model"], dtype=torch.float32)
    module = order["module"]
    if order["cut"]:
        model.config.use_cache = False
        model.config.return_dict = False
        module = order["body_module"]
        layers = model.get_submodule(module.rpartition(".")[0])
        del layers[order["layer"] + 1 :]
    return HookedProxyLM(model.eval(), tokenizer, hook_names=[module])


def configuration(order: dict, folder: str):
    import sae_lens

    classes = {"topk": "TopK", "batchtopk": "BatchTopK"}
    autoencoder = getattr(sae_lens, f"{classes[order['selection']]}TrainingSAEConfig")
    bf16 = order["dtype"] == "bfloat16"
    return sae_lens.LanguageModelSAERunnerConfig(
        sae=autoencoder(d_in=order["width"], d_sae=order["latents"], k=order["k"]),
        model_name=order["model"], model_class_name="AutoModelForCausalLM",
        hook_name=order["body_module"] if order["cut"] else order["module"],
        dataset_path="", streaming=False, is_dataset_tokenized=False,
        context_size=order["context"], prepend_bos=False, sequence_separator_token=None,
        training_tokens=order["tokens"], train_batch_size_tokens=order["batch"],
        store_batch_size_prompts=PROMPTS, n_batches_in_buffer=order["buffer"] // order["context"],
        use_cached_activations=bool(order["cache"]), cached_activations_path=order["cache"],
        lr=order["rate"], autocast=bf16, autocast_lm=bf16, device="cpu", n_eval_batches=0,
        checkpoint_path=None, output_path=f"{folder}/out", verbose=False,
        logger=sae_lens.LoggingConfig(log_to_wandb=False),
    )  # fmt: skip


if __name__ == "__main__":
    main()
