"""Records what circuit-tracer makes of its own files, and of ours.

With circuit-tracer 0.5.0, after `write.py`:

python tests/reference/circuit_tracer/record.py
"""

from pathlib import Path

import huggingface_hub.constants
import torch
import yaml
from circuit_tracer.transcoder.activation_functions import JumpReLU
from circuit_tracer.transcoder.cross_layer_transcoder import CrossLayerTranscoder
from circuit_tracer.transcoder.single_layer_transcoder import SingleLayerTranscoder, TranscoderSet
from safetensors.torch import save_file

# Newer versions of the hub's package have lost a setting that circuit-tracer imports.
huggingface_hub.constants.HF_HUB_ENABLE_HF_TRANSFER = False
from circuit_tracer.utils import hf_utils  # noqa: E402

HERE = Path(__file__).parent
D, M, LAYERS = 6, 12, 3
CPU = {"device": torch.device("cpu"), "dtype": torch.float32}
draw = torch.Generator().manual_seed(3)
# What is asked of the hub lies here.
hf_utils.snapshot_download = lambda repo_id, **ignored: str(HERE / repo_id)


@torch.no_grad()
def filled(module):
    for name, parameter in module.named_parameters():
        parameter.normal_(generator=draw)
        if name.endswith("threshold"):
            parameter.abs_()
    return module


def make(name, module, **config):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    module.to_safetensors(str(folder))
    config |= {"model_name": "some/model", "feature_input_hook": "mlp.hook_in",
               "feature_output_hook": "hook_mlp_out"}  # fmt: skip
    (folder / "config.yaml").write_text(yaml.dump(config))


def record(name):
    """As `load_transcoder_from_hub` opens it."""
    config = yaml.safe_load((HERE / name / "config.yaml").read_text())
    config = {"repo_id": name, "subfolder": None, "scan": name} | config
    module = hf_utils.load_transcoders(config, lazy_decoder=False, **CPU)
    x = torch.randn(module.n_layers, 20, D, generator=draw) * 2
    with torch.no_grad():
        code = module.encode(x)
        kept = {"x": x, "code": code, "reconstruction": module.decode(code, x)}
    at = HERE / f"{name.replace('/', '-')}.safetensors"
    save_file({key: value.contiguous() for key, value in kept.items()}, at)


def one(layer, activation, skip=False):
    return filled(SingleLayerTranscoder(D, M, activation, layer, skip_connection=skip, **CPU))


def several(*transcoders):
    return TranscoderSet(dict(enumerate(transcoders)), "mlp.hook_in", "hook_mlp_out")


def across(activation):
    return filled(CrossLayerTranscoder(LAYERS, M, D, activation, lazy_decoder=False, **CPU))


relu = torch.nn.functional.relu
make(
    "relu-skip", several(*(one(i, relu, True) for i in range(LAYERS))), model_kind="transcoder_set"
)
jumps = several(*(one(i, JumpReLU(torch.zeros(M), 0.1)) for i in range(LAYERS)))
make("jumprelu", jumps, model_kind="transcoder_set")
make("across-relu", across("relu"), model_kind="cross_layer_transcoder")
make("across-jumprelu", across("jump_relu"), model_kind="cross_layer_transcoder")
for name in ("relu-skip", "jumprelu", "across-relu", "across-jumprelu"):
    record(name)
for folder in sorted((HERE / "written").iterdir()):
    record(f"written/{folder.name}")
