"""Put a reconstruction in an activation's place, and see what the model's predictions lose.

    python examples/splice.py
    python examples/splice.py runs/tiny/dictionary

Without a folder the dictionary is the site's 16 largest neurons a token, which takes no training.
"""

import sys

import monosemy
from monosemy.dictionaries.baselines import neurons
from monosemy.interventions.contrast import contrast
from monosemy.interventions.edits import MeanAblate, Splice, ZeroAblate

SITE = "blocks.0.mlp.hook_post"


def main(folder: str | None) -> None:
    """One clean run over held-out text, one run for each edit, and their cross-entropies."""
    loaded = monosemy.load_model("specimen")
    site = monosemy.resolve_site(loaded.model, SITE)
    dictionary = monosemy.load_dictionary(folder) if folder else neurons(site.width, 16)

    text = monosemy.open_corpus("stdlib", "heldout")
    packing = monosemy.Packing(context=128, tokens=4096)
    contexts = monosemy.pack(text, loaded.tokenizer, packing, monosemy.Compute())
    rows = monosemy.read(loaded.model, [site], contexts.ids)[SITE][contexts.kept]

    # A mean for the ablation; the package's own measurements take it from training text.
    edits = {"reconstruction": Splice(dictionary.eval()), "mean": MeanAblate(rows.mean(0)),
             "zero": ZeroAblate()}  # fmt: skip
    runs = contrast(loaded.model, site, contexts.ids, contexts.kept, edits)

    clean = float(runs.loss[runs.counted].mean())
    print(f"{'untouched':<16} {clean:.4f} nats a token")
    losses = {name: float(run.loss[runs.counted].mean()) for name, run in runs.changes.items()}
    for name, loss in losses.items():
        divergence = float(runs.changes[name].divergence[runs.counted].mean())
        print(f"{name:<16} {loss:.4f} nats a token, KL from untouched {divergence:.4f}")
    recovered = (losses["zero"] - losses["reconstruction"]) / (losses["zero"] - clean)
    print(f"\ncross-entropy recovered from zero ablation: {recovered:.3f}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
