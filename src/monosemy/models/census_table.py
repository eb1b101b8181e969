"""Shapes of well-known models and counts of nervous systems, each with where it was published."""

from __future__ import annotations

from dataclasses import dataclass

LAYERNORM, RMSNORM = "layernorm", "rmsnorm"


@dataclass(frozen=True)
class Family:
    """What models of one design have in common, as far as parameters count.

    Attributes
    ----------
    norm : ``layernorm`` (gain and bias) or ``rmsnorm`` (gain).
    norms : in a block. `final_norm` says whether one follows the last block.
    gated : whether the MLP has three matrices (SwiGLU, GeGLU) or two.
    qkv_bias, out_bias, mlp_bias : biases of queries, keys and values; of the attention's output;
        of the MLP.
    tied : whether embedding and unembedding are one matrix; a model may say otherwise.
    head_bias : whether the unembedding has a bias.
    embedding_norm : whether embeddings are normalised.
    head_norm : whether queries and keys are normalised, with a gain each.
    segments : token types that have an embedding.
    relative : whether each block has a square matrix for relative positions (Transformer-XL).
    pooler : whether a square layer with bias follows.
    unembeds : whether it is counted with a language model's head.
    """

    norm: str
    norms: int = 2
    final_norm: bool = True
    gated: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    tied: bool = False
    head_bias: bool = False
    embedding_norm: bool = False
    head_norm: bool = False
    segments: int = 0
    relative: bool = False
    pooler: bool = False
    unembeds: bool = True


_BIASED = {"qkv_bias": True, "out_bias": True, "mlp_bias": True}
FAMILIES = {
    "gpt2": Family(LAYERNORM, tied=True, **_BIASED),
    "opt": Family(LAYERNORM, tied=True, **_BIASED),
    "gpt_neox": Family(LAYERNORM, **_BIASED),
    "gptj": Family(LAYERNORM, norms=1, mlp_bias=True, head_bias=True),
    "bloom": Family(LAYERNORM, tied=True, embedding_norm=True, **_BIASED),
    "bert": Family(LAYERNORM, final_norm=False, embedding_norm=True, segments=2, pooler=True,
                   unembeds=False, **_BIASED),
    "llama": Family(RMSNORM, gated=True),
    "mistral": Family(RMSNORM, gated=True),
    "qwen2": Family(RMSNORM, gated=True, qkv_bias=True),
    "gemma": Family(RMSNORM, gated=True, tied=True),
    "gemma2": Family(RMSNORM, norms=4, gated=True, tied=True),
    "gemma3": Family(RMSNORM, norms=4, gated=True, tied=True, head_norm=True),
    "gemma3_text": Family(RMSNORM, norms=4, gated=True, tied=True, head_norm=True),
    "palm": Family(LAYERNORM, norms=1, gated=True, tied=True),
    "gopher": Family(RMSNORM, tied=True, relative=True, **_BIASED),
}  # fmt: skip
"""By the model type of a configuration, as transformers writes it, where it has one."""


@dataclass(frozen=True)
class Known:
    """One published model.

    Attributes
    ----------
    name : as it is asked for.
    family : key of `FAMILIES`.
    layers, width, heads, key_heads, head_width, inner : its shape; `inner` is the MLP's width (of a
        gated one, of each factor).
    vocabulary, positions : rows of the embedding; learned positions, 0 where there are none.
    tied : against its family's habit, where not `None`.
    published : parameters as the paper says or the release has them, in millions.
    source : of the shape.
    """

    name: str
    family: str
    layers: int
    width: int
    heads: int
    key_heads: int
    head_width: int
    inner: int
    vocabulary: int
    positions: int
    published: float
    source: str
    tied: bool | None = None


_RADFORD = "Radford et al. 2019, table 2; parameters as corrected in the release"
_BROWN = "Brown et al. 2020, arXiv 2005.14165, table 2.1"
_BIDERMAN = "Biderman et al. 2023, arXiv 2304.01373, table 1"
_ZHANG = "Zhang et al. 2022, arXiv 2205.01068, table 1"
_DEVLIN = "Devlin et al. 2018, arXiv 1810.04805"
_TOUVRON = "Touvron et al. 2023, arXiv 2302.13971, table 2"
_TOUVRON2 = "Touvron et al. 2023, arXiv 2307.09288; configuration of the release"
_LLAMA3 = "Grattafiori et al. 2024, arXiv 2407.21783, table 3"
_LLAMA32 = "Meta 2024, model card and configuration of Llama 3.2"
_JIANG = "Jiang et al. 2023, arXiv 2310.06825, table 1"
_GEMMA = "Gemma Team 2024, arXiv 2403.08295, table 1"
_GEMMA2 = "Gemma Team 2024, arXiv 2408.00118, table 1"
_GEMMA3 = "Gemma Team 2025, arXiv 2503.19786, table 1; configuration of the release"
_QWEN = "Qwen Team 2024, arXiv 2412.15115; configuration of the release"
_CHOWDHERY = "Chowdhery et al. 2022, arXiv 2204.02311, table 1"
_RAE = "Rae et al. 2021, arXiv 2112.11446, table 1"
_HOFFMANN = "Hoffmann et al. 2022, arXiv 2203.15556, table 4"
_SCAO = "Scao et al. 2022, arXiv 2211.05100, table 3"
_BLACK = "Black et al. 2022, arXiv 2204.06745"
_WANG = "Wang and Komatsuzaki 2021, GPT-J-6B: mesh-transformer-jax"
_SMITH = "Smith et al. 2022, arXiv 2201.11990"


def _plain(
    name: str, family: str, layers: int, width: int, heads: int, vocabulary: int, positions: int,
    published: float, source: str,
) -> Known:  # fmt: skip
    """Heads that share the width, and an MLP of four times it."""
    return Known(name, family, layers, width, heads, heads, width // heads, 4 * width, vocabulary,
                 positions, published, source)  # fmt: skip


MODELS: tuple[Known, ...] = (
    _plain("gpt2", "gpt2", 12, 768, 12, 50257, 1024, 124.44, _RADFORD),
    _plain("gpt2-medium", "gpt2", 24, 1024, 16, 50257, 1024, 354.82, _RADFORD),
    _plain("gpt2-large", "gpt2", 36, 1280, 20, 50257, 1024, 774.03, _RADFORD),
    _plain("gpt2-xl", "gpt2", 48, 1600, 25, 50257, 1024, 1557.6, _RADFORD),
    _plain("gpt-3-2.7b", "gpt2", 32, 2560, 32, 50257, 2048, 2_700, _BROWN),
    _plain("gpt-3-6.7b", "gpt2", 32, 4096, 32, 50257, 2048, 6_700, _BROWN),
    _plain("gpt-3", "gpt2", 96, 12288, 96, 50257, 2048, 175_000, _BROWN),
    _plain("pythia-70m", "gpt_neox", 6, 512, 8, 50304, 0, 70.43, _BIDERMAN),
    _plain("pythia-160m", "gpt_neox", 12, 768, 12, 50304, 0, 162.32, _BIDERMAN),
    _plain("pythia-410m", "gpt_neox", 24, 1024, 16, 50304, 0, 405.33, _BIDERMAN),
    _plain("pythia-1b", "gpt_neox", 16, 2048, 8, 50304, 0, 1011.8, _BIDERMAN),
    _plain("pythia-1.4b", "gpt_neox", 24, 2048, 16, 50304, 0, 1414.6, _BIDERMAN),
    _plain("pythia-2.8b", "gpt_neox", 32, 2560, 32, 50304, 0, 2775.2, _BIDERMAN),
    _plain("pythia-6.9b", "gpt_neox", 32, 4096, 32, 50432, 0, 6857.3, _BIDERMAN),
    _plain("pythia-12b", "gpt_neox", 36, 5120, 40, 50688, 0, 11846, _BIDERMAN),
    _plain("gpt-j-6b", "gptj", 28, 4096, 16, 50400, 0, 6053.4, _WANG),
    _plain("gpt-neox-20b", "gpt_neox", 44, 6144, 64, 50432, 0, 20554.6, _BLACK),
    _plain("opt-125m", "opt", 12, 768, 12, 50272, 2050, 125.2, _ZHANG),
    _plain("opt-1.3b", "opt", 24, 2048, 32, 50272, 2050, 1315.8, _ZHANG),
    _plain("opt-2.7b", "opt", 32, 2560, 32, 50272, 2050, 2651.6, _ZHANG),
    _plain("opt-6.7b", "opt", 32, 4096, 32, 50272, 2050, 6658.5, _ZHANG),
    _plain("opt-13b", "opt", 40, 5120, 40, 50272, 2050, 13_000, _ZHANG),
    _plain("opt-30b", "opt", 48, 7168, 56, 50272, 2050, 30_000, _ZHANG),
    _plain("opt-66b", "opt", 64, 9216, 72, 50272, 2050, 66_000, _ZHANG),
    _plain("opt-175b", "opt", 96, 12288, 96, 50272, 2050, 175_000, _ZHANG),
    _plain("bloom-176b", "bloom", 70, 14336, 112, 250880, 0, 176_247, _SCAO),
    _plain("bert-base", "bert", 12, 768, 12, 30522, 512, 110, _DEVLIN),
    _plain("bert-large", "bert", 24, 1024, 16, 30522, 512, 340, _DEVLIN),
    Known("llama-7b", "llama", 32, 4096, 32, 32, 128, 11008, 32000, 0, 6_738, _TOUVRON),
    Known("llama-13b", "llama", 40, 5120, 40, 40, 128, 13824, 32000, 0, 13_016, _TOUVRON),
    Known("llama-33b", "llama", 60, 6656, 52, 52, 128, 17920, 32000, 0, 32_500, _TOUVRON),
    Known("llama-65b", "llama", 80, 8192, 64, 64, 128, 22016, 32000, 0, 65_200, _TOUVRON),
    Known("llama-2-7b", "llama", 32, 4096, 32, 32, 128, 11008, 32000, 0, 6_738, _TOUVRON2),
    Known("llama-2-13b", "llama", 40, 5120, 40, 40, 128, 13824, 32000, 0, 13_016, _TOUVRON2),
    Known("llama-2-70b", "llama", 80, 8192, 64, 8, 128, 28672, 32000, 0, 68_977, _TOUVRON2),
    Known("llama-3-8b", "llama", 32, 4096, 32, 8, 128, 14336, 128256, 0, 8_030, _LLAMA3),
    Known("llama-3-70b", "llama", 80, 8192, 64, 8, 128, 28672, 128256, 0, 70_554, _LLAMA3),
    Known("llama-3.1-405b", "llama", 126, 16384, 128, 8, 128, 53248, 128256, 0, 405_000, _LLAMA3),
    Known("llama-3.2-1b", "llama", 16, 2048, 32, 8, 64, 8192, 128256, 0, 1_236, _LLAMA32, True),
    Known("llama-3.2-3b", "llama", 28, 3072, 24, 8, 128, 8192, 128256, 0, 3_213, _LLAMA32, True),
    Known("mistral-7b", "mistral", 32, 4096, 32, 8, 128, 14336, 32000, 0, 7_242, _JIANG),
    Known("gemma-2b", "gemma", 18, 2048, 8, 1, 256, 16384, 256000, 0, 2_506, _GEMMA),
    Known("gemma-7b", "gemma", 28, 3072, 16, 16, 256, 24576, 256000, 0, 8_538, _GEMMA),
    Known("gemma-2-2b", "gemma2", 26, 2304, 8, 4, 256, 9216, 256000, 0, 2_614, _GEMMA2),
    Known("gemma-2-9b", "gemma2", 42, 3584, 16, 8, 256, 14336, 256000, 0, 9_242, _GEMMA2),
    Known("gemma-2-27b", "gemma2", 46, 4608, 32, 16, 128, 36864, 256000, 0, 27_227, _GEMMA2),
    Known("gemma-3-270m", "gemma3", 18, 640, 4, 1, 256, 2048, 262144, 0, 268, _GEMMA3),
    Known("gemma-3-1b", "gemma3", 26, 1152, 4, 1, 256, 6912, 262144, 0, 1_000, _GEMMA3),
    Known("gemma-3-4b", "gemma3", 34, 2560, 8, 4, 256, 10240, 262208, 0, 3_884, _GEMMA3),
    Known("gemma-3-12b", "gemma3", 48, 3840, 16, 8, 256, 15360, 262208, 0, 11_771, _GEMMA3),
    Known("gemma-3-27b", "gemma3", 62, 5376, 32, 16, 128, 21504, 262208, 0, 27_016, _GEMMA3),
    Known("qwen2.5-0.5b", "qwen2", 24, 896, 14, 2, 64, 4864, 151936, 0, 494, _QWEN, True),
    Known("qwen2.5-1.5b", "qwen2", 28, 1536, 12, 2, 128, 8960, 151936, 0, 1_544, _QWEN, True),
    Known("qwen2.5-3b", "qwen2", 36, 2048, 16, 2, 128, 11008, 151936, 0, 3_086, _QWEN, True),
    Known("qwen2.5-7b", "qwen2", 28, 3584, 28, 4, 128, 18944, 152064, 0, 7_616, _QWEN),
    Known("qwen2.5-14b", "qwen2", 48, 5120, 40, 8, 128, 13824, 152064, 0, 14_770, _QWEN),
    Known("qwen2.5-32b", "qwen2", 64, 5120, 40, 8, 128, 27648, 152064, 0, 32_764, _QWEN),
    Known("qwen2.5-72b", "qwen2", 80, 8192, 64, 8, 128, 29568, 152064, 0, 72_706, _QWEN),
    Known("palm-8b", "palm", 32, 4096, 16, 1, 256, 16384, 256000, 0, 8_630, _CHOWDHERY),
    Known("palm-62b", "palm", 64, 8192, 32, 1, 256, 32768, 256000, 0, 62_500, _CHOWDHERY),
    Known("palm-540b", "palm", 118, 18432, 48, 1, 256, 73728, 256000, 0, 540_350, _CHOWDHERY),
    _plain("gopher-280b", "gopher", 80, 16384, 128, 32000, 0, 280_000, _RAE),
    _plain("chinchilla-70b", "gopher", 80, 8192, 64, 32000, 0, 70_000, _HOFFMANN),
    _plain("mt-nlg-530b", "gpt2", 105, 20480, 128, 51200, 2048, 530_000, _SMITH),
)
"""Only shapes that their makers published, and only where the formula meets the published total."""

ALIASES = {
    "gpt-2": "gpt2", "gpt2-small": "gpt2", "gpt-2-small": "gpt2", "gpt-3-175b": "gpt-3",
    "palm": "palm-540b", "gpt-j": "gpt-j-6b", "gpt-neox": "gpt-neox-20b", "gopher": "gopher-280b",
    "chinchilla": "chinchilla-70b", "bloom": "bloom-176b", "bert": "bert-base",
    "bert-base-uncased": "bert-base", "bert-large-uncased": "bert-large",
    "meta-llama-3-8b": "llama-3-8b", "meta-llama-3-70b": "llama-3-70b",
    "llama-3.1-8b": "llama-3-8b", "llama-3.1-70b": "llama-3-70b", "llama-30b": "llama-33b",
    "llama-3-405b": "llama-3.1-405b", "mistral-7b-v0.1": "mistral-7b",
    "gemma-3-1b-pt": "gemma-3-1b", "mistral": "mistral-7b",
}  # fmt: skip


@dataclass(frozen=True)
class Brain:
    """Neurons of a nervous system."""

    name: str
    neurons: int
    source: str


BRAINS: tuple[Brain, ...] = (
    Brain("C. elegans", 302, "White et al. 1986, Phil. Trans. R. Soc. B 314"),
    Brain("fruit fly, larva", 3_016, "Winding et al. 2023, Science 379"),
    Brain("fruit fly, adult brain", 139_255, "Dorkenwald et al. 2024, Nature 634"),
    Brain("honeybee, brain", 960_000, "Menzel and Giurfa 2001, Trends Cogn. Sci. 5"),
    Brain("mouse, brain", 70_890_000, "Herculano-Houzel et al. 2006, PNAS 103"),
    Brain("rat, brain", 200_130_000, "Herculano-Houzel et al. 2006, PNAS 103"),
    Brain("macaque, brain", 6_376_000_000, "Herculano-Houzel et al. 2007, PNAS 104"),
    Brain("human, cerebral cortex", 16_340_000_000, "Azevedo et al. 2009, J. Comp. Neurol. 513"),
    Brain("human, brain", 86_060_000_000, "Azevedo et al. 2009, J. Comp. Neurol. 513"),
)
"""From few to many."""
