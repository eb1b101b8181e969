"""Train a tiny dictionary on the specimen's neurons, then look at what a few features fire on.

    python examples/tiny_dictionary.py

This is `monosemy demo` in miniature: few activations, few latents, no measurements. The run stays in
runs/tiny; run the file again and the finished dictionary is read back.
"""

from pathlib import Path

from monosemy.data.capture import LiveSource
from monosemy.explanation.collect import collect
from monosemy.explanation.effects import direct_effects
from monosemy.explanation.examples import choose_features, examples
from monosemy.recipes.dictionary import train_dictionary
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import open_setting

RECIPE = DictionaryRecipe(tokens=40_000, latents=512, selection="topk", k=8, batch=256)


def main() -> None:
    """Train, collect where every latent fires, print four of them."""
    dictionary = train_dictionary(RECIPE, Path("runs/tiny"))
    print(f"{dictionary.latents} directions of {dictionary.width} numbers\n")

    setting = open_setting(RECIPE)
    source = LiveSource(setting.loaded, setting.site, setting.contexts)
    collected = collect(dictionary, source)
    print(f"{float(collected.density.sum()):.1f} latents are active on a token, on average")

    chosen = choose_features(collected, count=4, examples=4)
    tokenizer = setting.loaded.tokenizer
    shown = examples(collected, dictionary, source, tokenizer, chosen, count=3, radius=6)
    effects = direct_effects(setting.loaded, setting.site, dictionary.W_dec.detach()[chosen], 5)
    for latent, effect in zip(chosen, effects, strict=True):
        density = float(collected.density[latent])
        raised = " ".join(repr(token) for token, _ in effect.raised)
        print(f"\nlatent {latent}, on {density:.2%} of the tokens; raises {raised}")
        for example in shown[latent]:
            pairs = zip(example.tokens, example.activations, strict=True)
            line = "".join(f"[{token}]" if value > 0 else token for token, value in pairs)
            print(f"    {example.document}: {line!r}")


if __name__ == "__main__":
    main()
