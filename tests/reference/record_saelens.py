"""Records what SAELens makes of small dictionaries, and checks that it opens what we write.

``record``, where sae-lens is installed, writes ``tests/reference/saelens``: for every architecture a
folder as SAELens saves it, with ``expected.safetensors`` (rows, their codes, what is written).
``write FOLDER``, where monosemy is installed, reads each of them and saves it anew into FOLDER.
``check FOLDER``, where sae-lens is, opens those and prints how far they are from what it recorded.

    python tests/reference/record_saelens.py record
    python tests/reference/record_saelens.py write FOLDER
    python tests/reference/record_saelens.py check FOLDER
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

HERE = Path(__file__).resolve().parent / "saelens"
D, M, OUT, ROWS, K = 6, 14, 5, 24, 3
NORMS = ("layer_norm", "constant_norm_rescale")


def _rows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return 2 * torch.randn(ROWS, D, generator=generator) + torch.arange(D)


def _drawn(module: torch.nn.Module) -> torch.nn.Module:
    """No parameter at zero or one: a forgotten one would go unnoticed."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in module.named_parameters():
            value.copy_(torch.randn(value.shape, generator=generator))
            if name == "threshold":
                value.add_(0.5)
    return module.eval()


def _cases() -> dict[str, torch.nn.Module]:
    import sae_lens as sl

    about = sl.saes.sae.SAEMetadata(model_name="specimen", hook_name="blocks.1.hook_resid_post")
    common = {"d_in": D, "d_sae": M, "metadata": about}
    skip = {**common, "d_out": OUT, "apply_b_dec_to_input": False}
    cases = {
        "standard": sl.StandardSAE(sl.StandardSAEConfig(**common)),
        "standard_uncentred": sl.StandardSAE(
            sl.StandardSAEConfig(**common, apply_b_dec_to_input=False)
        ),
        "topk": sl.TopKSAE(sl.TopKSAEConfig(**common, k=K)),
        "topk_rescaled": sl.TopKSAE(
            sl.TopKSAEConfig(**common, k=K, rescale_acts_by_decoder_norm=True)
        ),
        "abstopk": sl.AbsTopKSAE(sl.AbsTopKSAEConfig(**common, k=K)),
        "abstopk_rescaled": sl.AbsTopKSAE(
            sl.AbsTopKSAEConfig(**common, k=K, rescale_acts_by_decoder_norm=True)
        ),
        "jumprelu": sl.JumpReLUSAE(sl.JumpReLUSAEConfig(**common)),
        "jumprelu_uncentred": sl.JumpReLUSAE(
            sl.JumpReLUSAEConfig(**common, apply_b_dec_to_input=False)
        ),
        "gated": sl.GatedSAE(sl.GatedSAEConfig(**common)),
        "gated_uncentred": sl.GatedSAE(sl.GatedSAEConfig(**common, apply_b_dec_to_input=False)),
        "matching_pursuit": sl.MatchingPursuitSAE(
            sl.MatchingPursuitSAEConfig(**common, max_iterations=5, residual_threshold=1.5)
        ),
        "matching_pursuit_repeated": sl.MatchingPursuitSAE(
            sl.MatchingPursuitSAEConfig(
                **common, residual_threshold=0.0, stop_on_duplicate_support=False
            )
        ),
        "transcoder": sl.Transcoder(sl.TranscoderConfig(**skip)),
        "skip_transcoder": sl.SkipTranscoder(sl.SkipTranscoderConfig(**skip)),
        "jumprelu_transcoder": sl.JumpReLUTranscoder(sl.JumpReLUTranscoderConfig(**skip)),
        "jumprelu_skip_transcoder": sl.JumpReLUSkipTranscoder(
            sl.JumpReLUSkipTranscoderConfig(**skip)
        ),
    }
    for norm in NORMS:
        normed = {**common, "normalize_activations": norm}
        cases[f"standard_{norm}"] = sl.StandardSAE(sl.StandardSAEConfig(**normed))
        cases[f"topk_{norm}"] = sl.TopKSAE(sl.TopKSAEConfig(**normed, k=K))
    for name, case in cases.items():
        _drawn(case)
        if name.startswith("matching_pursuit"):
            # Rows of length one, as it is trained; longer ones would make the residual grow.
            case.W_dec.data = torch.nn.functional.normalize(case.W_dec.data, dim=1)
    return cases


def _trainings() -> dict[str, torch.nn.Module]:
    import sae_lens as sl

    about = sl.saes.sae.SAEMetadata(model_name="specimen", hook_name="blocks.1.hook_resid_post")
    common = {"d_in": D, "d_sae": M, "metadata": about}
    return {
        name: _drawn(case)
        for name, case in {
            "batchtopk": sl.BatchTopKTrainingSAE(sl.BatchTopKTrainingSAEConfig(**common, k=K)),
            "matryoshka": sl.MatryoshkaBatchTopKTrainingSAE(
                sl.MatryoshkaBatchTopKTrainingSAEConfig(
                    **common, k=2.5, matryoshka_widths=[3, 8, M],
                    rescale_acts_by_decoder_norm=False,
                )
            ),
        }.items()
    }  # fmt: skip


def _expect(folder: Path, sae: torch.nn.Module) -> None:
    rows = _rows()
    with torch.no_grad():
        code, written = sae.encode(rows), sae(rows)
    expected = {"rows": rows, "code": code, "written": written}
    save_file(
        {k: v.contiguous().clone() for k, v in expected.items()}, folder / "expected.safetensors"
    )


def _old(folder: Path, name: str, config: dict, tensors: dict) -> None:
    """A folder as SAELens wrote it before 6.0, and what SAELens 6 makes of it."""
    import sae_lens as sl

    at = folder / name
    at.mkdir(parents=True)
    base = {
        "d_in": D,
        "d_sae": M,
        "dtype": "torch.float32",
        "device": "cpu",
        "model_name": "specimen",
    }
    (at / "cfg.json").write_text(json.dumps(base | config))
    save_file(tensors, at / "sae_weights.safetensors")
    _expect(at, sl.SAE.load_from_disk(str(at)).eval())


def record() -> None:
    """Write every case anew."""
    import sae_lens as sl

    shutil.rmtree(HERE, ignore_errors=True)
    for name, sae in _cases().items():
        sae.save_model(HERE / name)
        _expect(HERE / name, sae)
    for name, sae in _trainings().items():
        sae.topk_threshold.fill_(1.25)
        inference = HERE / f"{name}_inference"
        sae.save_inference_model(inference)
        _expect(inference, sl.SAE.load_from_disk(str(inference)).eval())
        # A checkpoint of training works, in use, as what is saved for use.
        sae.save_model(HERE / f"{name}_checkpoint")
        shutil.copy(inference / "expected.safetensors", HERE / f"{name}_checkpoint")
    plain = load_file(HERE / "standard" / "sae_weights.safetensors")
    jump = load_file(HERE / "jumprelu" / "sae_weights.safetensors")
    hook = {"hook_point": "blocks.1.hook_resid_post", "hook_point_head_index": None}
    old = HERE / "old"
    _old(old, "standard", {**hook, "activation_fn_str": "relu", "normalize_activations": False,
                           "hook_layer": 1}, plain | {"scaling_factor": torch.ones(M)})  # fmt: skip
    _old(old, "topk", {**hook, "activation_fn_str": "topk", "activation_fn_kwargs": {"k": K},
                       "apply_b_dec_to_input": False}, plain)  # fmt: skip
    _old(old, "jumprelu", {**hook, "architecture": "jumprelu", "activation_fn_str": "relu",
                           "normalize_activations": "layer_norm"}, jump)  # fmt: skip
    (HERE / "version.txt").write_text(f"sae-lens {sl.__version__}\n")
    size = sum(path.stat().st_size for path in HERE.rglob("*") if path.is_file())
    print(f"recorded with sae-lens {sl.__version__}: {size:,} bytes in {HERE}")


def write(folder: Path) -> None:
    """Every recorded dictionary as monosemy saves it."""
    from monosemy.dictionaries import files

    for expected in sorted(HERE.rglob("expected.safetensors")):
        name = expected.parent.relative_to(HERE)
        files.save(files.load(expected.parent), folder / name)
        shutil.copy(expected, folder / name)


def check(folder: Path) -> int:
    """Open each in SAELens; the number of those that differ by more than 1e-5."""
    import sae_lens as sl

    wrong = 0
    for expected in sorted(folder.rglob("expected.safetensors")):
        wanted, name = load_file(expected), expected.parent.relative_to(folder)
        if json.loads((expected.parent / "cfg.json").read_text())["architecture"] == "general":
            # A checkpoint whose decoder lengths are not folded yet, which only training reads there.
            print(f"{name!s:<34} SAELens has no architecture for it")
            continue
        sae = sl.SAE.load_from_disk(str(expected.parent)).eval()
        with torch.no_grad():
            found = {"code": sae.encode(wanted["rows"]), "written": sae(wanted["rows"])}
        worst = max(
            float((found[key] - wanted[key]).abs().max() / wanted[key].abs().max()) for key in found
        )
        wrong += worst > 1e-5
        kept = sae.cfg.metadata.model_name
        print(f"{name!s:<34} {type(sae).__name__:<24} {worst:.1e}  metadata {kept}")
    return wrong


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    if sys.argv[1:] == ["record"]:
        record()
    elif len(sys.argv) == 3 and sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    elif len(sys.argv) == 3 and sys.argv[1] == "check":
        sys.exit(check(Path(sys.argv[2])))
    else:
        sys.exit(__doc__)
