"""Read a place inside a language model: one vector of numbers for every token.

python examples/read_a_site.py
"""

import torch

import monosemy

TEXT = '''def area(radius):
    """The area of a circle."""
    return math.pi * radius ** 2
'''


def main() -> None:
    """Run the model that ships inside over a few lines, and look at its neurons."""
    loaded = monosemy.load_model("specimen")
    for site in monosemy.list_sites(loaded.model):
        print(f"{site.name:<26} {site.width:>4} numbers a token")

    # One context. Training puts the beginning token before every document, so this does too.
    ids = [loaded.tokenizer.bos_token_id, *loaded.tokenizer(TEXT)["input_ids"]]
    site = monosemy.resolve_site(loaded.model, "blocks.0.mlp.hook_post")
    activations = monosemy.read(loaded.model, [site], torch.tensor([ids]))[site.name]
    contexts, positions, width = activations.shape
    print(f"\n{site.name}: {contexts} context of {positions} tokens, {width} neurons each\n")

    for position, neurons in enumerate(activations[0]):
        value, neuron = neurons.max(0)
        active = int((neurons > 0).sum())
        token = loaded.tokenizer.decode([ids[position]])
        print(f"{token!r:>18}  {active:>3} neurons on; strongest {int(neuron):>3} at {value:.2f}")


if __name__ == "__main__":
    main()
