"""Record what dictionary_learning computes, for `test_dictionary_learning.py`.

In an environment with this package and ``dictionary-learning==0.1.0``:
``python record_dictionary_learning.py``. ``library/<case>`` is written by the library's own
training, ``ours/<case>`` by this package and read by the library; ``*.recorded`` beside each file
holds inputs and what the library makes of them (safetensors).
"""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import torch
from dictionary_learning.dictionary import AutoEncoder, AutoEncoderNew
from dictionary_learning.trainers.batch_top_k import BatchTopKSAE, BatchTopKTrainer
from dictionary_learning.trainers.gdm import GatedSAETrainer
from dictionary_learning.trainers.jumprelu import JumpReluTrainer
from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
from dictionary_learning.trainers.standard import StandardTrainerAprilUpdate
from dictionary_learning.trainers.top_k import TopKTrainer
from dictionary_learning.training import trainSAE
from dictionary_learning.utils import load_dictionary
from safetensors.torch import save_file

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import dictionary_learning
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU, TopK

HERE = Path(__file__).parent / "dictionary_learning"
WIDTH, LATENTS, TOKENS, STEPS = 6, 12, 24, 30
PLACE = {"layer": 3, "lm_name": "a/model", "submodule_name": "resid_post_layer_3"}
COMMON = {"activation_dim": WIDTH, "dict_size": LATENTS, "lr": 0.05, "warmup_steps": 2,
          "steps": STEPS, "device": "cpu", "seed": 1, **PLACE}  # fmt: skip
SPARSE = {"k": 4, "threshold_start_step": 3}
TRAINERS = {
    "AutoEncoder": (StandardTrainerAprilUpdate, {"sparsity_warmup_steps": 2}),
    "GatedAutoEncoder": (GatedSAETrainer, {"sparsity_warmup_steps": 2}),
    "AutoEncoderTopK": (TopKTrainer, SPARSE),
    "BatchTopKSAE": (BatchTopKTrainer, SPARSE),
    "JumpReluAutoEncoder": (
        JumpReluTrainer, {"sparsity_warmup_steps": 2, "target_l0": 4.0, "bandwidth": 0.5},
    ),
    "MatryoshkaBatchTopKSAE": (
        MatryoshkaBatchTopKTrainer, SPARSE | {"group_fractions": [0.25, 0.25, 0.5]},
    ),
}  # fmt: skip


def activations(tokens: int) -> torch.Tensor:
    return 3 * torch.randn(tokens, WIDTH) + torch.arange(WIDTH)


def settings(name: str) -> dict:
    trainer, own = TRAINERS[name]
    return COMMON | own | {"trainer": trainer}


def library_files() -> list[Path]:
    """Trained for a moment with inputs scaled, so that biases and thresholds have been folded."""
    for name in TRAINERS:
        data = [activations(64) for _ in range(STEPS + 1)]
        folder = HERE / "library" / name
        trainSAE(data, [settings(name)], STEPS, save_steps=[10, 20], save_dir=str(folder),
                 normalize_activations=True, device="cpu")  # fmt: skip
        for file in (folder / "trainer_0").iterdir():
            shutil.move(file, folder / file.name)
        (folder / "trainer_0").rmdir()
        if name != "BatchTopKSAE":
            shutil.rmtree(folder / "checkpoints")
    new = AutoEncoderNew(WIDTH, LATENTS)
    folder = HERE / "library" / "AutoEncoderNew"
    save_drawn(new, folder, {"dict_class": "AutoEncoderNew"})
    unset = BatchTopKSAE(WIDTH, LATENTS, 4)
    save_drawn(unset, HERE / "library" / "unset", {"dict_class": "BatchTopKSAE", "k": 4})
    return [HERE / "library" / name for name in (*TRAINERS, "AutoEncoderNew", "unset")]


def save_drawn(ae: torch.nn.Module, folder: Path, trainer: dict) -> None:
    """What no trainer of the library writes (quickly): parameters drawn, saved the same way."""
    with torch.no_grad():
        for parameter in ae.parameters():
            parameter.copy_(torch.randn_like(parameter))
    folder.mkdir(parents=True)
    torch.save(ae.state_dict(), folder / "ae.pt")
    sizes = {"activation_dim": WIDTH, "dict_size": LATENTS}
    (folder / "config.json").write_text(json.dumps({"trainer": trainer | sizes}))


def backup() -> None:
    """What newer versions leave while they train: not yet scaled, with the scale beside it."""
    trainer = BatchTopKTrainer(
        **{k: v for k, v in settings("BatchTopKSAE").items() if k != "trainer"}
    )
    factor = 7.5
    for step in range(STEPS):
        trainer.update(step, activations(64) / factor)
    folder = HERE / "library" / "backup"
    folder.mkdir()
    torch.save(
        {
            "step": STEPS,
            "ae": trainer.ae.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "config": trainer.config,
            "norm_factor": factor,
        },
        folder / "ae.pt",
    )
    trainer.ae.scale_biases(factor)
    record(trainer.ae, folder / "ae.recorded")


def our_files() -> list[Path]:
    shapes = (LATENTS, WIDTH), (LATENTS,), (LATENTS, WIDTH), (WIDTH,)

    def flat(selection, centred=True, prefixes=()):
        dictionary = FlatDictionary(*(torch.randn(s) for s in shapes), selection, centred)
        dictionary.prefixes = prefixes
        return dictionary

    def batch():
        selection = BatchTopK(4)
        selection.threshold.fill_(0.7)
        return selection

    gate = [torch.randn(s) for s in (shapes[0], *[(LATENTS,)] * 3, shapes[2], shapes[3])]
    made = {
        "AutoEncoder": flat(ReLU()),
        "AutoEncoderNew": flat(ReLU(), centred=False),
        "GatedAutoEncoder": GatedDictionary(*gate),
        "AutoEncoderTopK": flat(TopK(4)),
        "BatchTopKSAE": flat(batch()),
        "JumpReluAutoEncoder": flat(JumpReLU(torch.linspace(-0.5, 1.5, LATENTS)), centred=False),
        "MatryoshkaBatchTopKSAE": flat(batch(), prefixes=(2, 5, LATENTS)),
    }
    made["AutoEncoderTopK"].metadata = {"hook_name": "blocks.7.hook_resid_post", "seed": 3}
    dictionary_learning.write(made, HERE / "ours")
    return [HERE / "ours" / name for name in made]


@torch.no_grad()
def record(ae: torch.nn.Module, file: Path) -> None:
    x = activations(TOKENS)
    code = ae.encode(x)
    save_file({"x": x, "code": code, "out": ae.decode(code)}, file)


def record_folder(folder: Path) -> None:
    ae, _ = load_dictionary(str(folder), "cpu")
    record(ae, folder / "ae.recorded")
    for file in folder.glob("checkpoints/*.pt"):
        record(BatchTopKSAE.from_pretrained(file), file.with_suffix(".recorded"))
    if isinstance(ae, AutoEncoder):  # load_dictionary scales rows to length one
        raw = AutoEncoder.from_pretrained(folder / "ae.pt", normalize_decoder=False)
        (folder / "ae.recorded").rename(folder / "scaled.recorded")
        record(raw, folder / "ae.recorded")


if __name__ == "__main__":
    torch.manual_seed(0)
    shutil.rmtree(HERE, ignore_errors=True)
    for folder in library_files() + our_files():
        record_folder(folder)
    backup()
    facts = {"dictionary-learning": version("dictionary-learning"), "torch": torch.__version__}
    (HERE / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")
