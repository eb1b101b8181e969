"""Write activations to disk once, then train from the files; no model runs the second time.

    python examples/capture_and_train.py

On the command line: `monosemy capture --site blocks.0.mlp.hook_post --out runs/shards`, then
`monosemy train demo --shards runs/shards`. The files are described in docs/formats/shards.md.
"""

from dataclasses import replace
from pathlib import Path

import torch

import monosemy
from monosemy.recipes.recipe import DictionaryRecipe
from monosemy.recipes.setting import open_setting

RECIPE = DictionaryRecipe(tokens=16_384, latents=256, k=8, batch=512)
FOLDER = Path("runs/shards")


def main() -> None:
    """Capture, open, train; and see that live activations give the same dictionary."""
    setting = open_setting(RECIPE)
    monosemy.capture(setting.loaded, [setting.site], setting.contexts, FOLDER)
    shards = monosemy.open_shards(FOLDER)
    shards.verify()
    size = sum(path.stat().st_size for path in FOLDER.iterdir())
    print(f"{shards.tokens:,} activations of {shards.width} numbers, {size / 2**20:.0f} MiB")
    print("the first one comes from", shards.contexts.place(0))

    from_disk = replace(RECIPE, shards=str(FOLDER))
    stored = monosemy.train_dictionary(from_disk, Path("runs/from_shards"))
    live = monosemy.train_dictionary(RECIPE, Path("runs/from_live"))
    print("the two dictionaries are equal bit for bit:", torch.equal(stored.W_dec, live.W_dec))


if __name__ == "__main__":
    main()
