"""Record what OpenAI's sparse_autoencoder computes, for `test_openai.py`.

``python record_openai.py path/to/sparse_autoencoder/model.py`` (of github.com/openai/
sparse_autoencoder at commit 764586a), in any environment with torch. Each case is the file its own
``state_dict`` gives, and beside it inputs and what the library makes of them (safetensors).
"""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent / "openai"
WIDTH, LATENTS, TOKENS = 6, 12, 24


def load_library(path: str):
    spec = importlib.util.spec_from_file_location("model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cases(library) -> dict[str, dict]:
    nn = torch.nn
    return {
        "relu": {"activation": nn.ReLU()},
        "identity": {"activation": nn.Identity()},
        "topk": {"activation": library.TopK(5), "normalize": True},
        "topk_identity": {"activation": library.TopK(5, nn.Identity()), "normalize": True},
        "tied": {"activation": nn.ReLU(), "tied": True},
    }


def drawn(library, given: dict):
    coder = library.Autoencoder(LATENTS, WIDTH, **given)
    with torch.no_grad():
        for parameter in coder.parameters():
            parameter.copy_(torch.randn_like(parameter))
        coder.latent_bias -= 1
    return coder


def published(state: dict) -> dict:
    """As in the published files: the settings of the activation once, not beside it again."""
    return {name: value for name, value in state.items() if not name.startswith("activation.")}


@torch.no_grad()
def record(coder, name: str) -> None:
    x = 2 * torch.randn(TOKENS, WIDTH) + torch.arange(WIDTH)
    x[:6] *= 1e-4  # where what the layer norm adds to the standard deviation counts
    code, info = coder.encode(x)
    seen = {"x": x, "code": code, "out": coder.decode(code, info)}
    save_file(seen, HERE / f"{name}.recorded")


if __name__ == "__main__":
    torch.manual_seed(0)
    library = load_library(sys.argv[1])
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    for name, given in cases(library).items():
        coder = drawn(library, given)
        state = published(coder.state_dict())
        torch.save(state, HERE / f"{name}.pt")
        if name != "tied":  # which the library cannot read back itself
            coder = library.Autoencoder.from_state_dict(dict(state))
        record(coder, name)
    live = drawn(library, cases(library)["topk"])
    torch.save(live.state_dict(), HERE / "live.pt")
    record(live, "live")
    nameless = drawn(library, {})
    kept = {k: v for k, v in nameless.state_dict().items() if not k.startswith("activation")}
    torch.save(kept, HERE / "nameless.pt")
    record(library.Autoencoder.from_state_dict(kept), "nameless")
    facts = {"openai/sparse_autoencoder": "764586a", "torch": torch.__version__}
    (HERE / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")
