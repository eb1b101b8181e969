import pytest
import torch

from monosemy.tensors import compiled, portable, routes


@pytest.fixture
def without(monkeypatch):
    """Pretends that packages are not installed, or that everything is."""

    def missing(*names):
        monkeypatch.setattr(routes, "find_spec", lambda name: None if name in names else "found")

    routes.name_for.cache_clear()
    yield missing
    routes.name_for.cache_clear()


ROUTES = [
    ("cpu", torch.float32, "compiled", "numba compiles them for this processor"),
    ("cpu", torch.float64, "compiled", "numba compiles them for this processor"),
    ("cpu", torch.bfloat16, "portable",
     "the compiled kernels take float32 and float64, not bfloat16"),
    ("cuda", torch.float32, "triton_kernels", "Triton compiles them for this GPU"),
    ("cuda", torch.float64, "portable", "the kernels for GPUs take float32, not float64"),
    ("mps", torch.float32, "portable",
     "plain torch serves every device; none of ours is written for mps"),
]  # fmt: skip


@pytest.mark.parametrize(("device", "dtype", "name", "reason"), ROUTES)
def test_device_and_type_decide(without, monkeypatch, device, dtype, name, reason):
    without()
    monkeypatch.setattr(routes, "_CUDA", True)
    assert routes.name_for(device, dtype) == name
    assert routes.reason_for(device, dtype) == reason


@pytest.mark.parametrize(("device", "package"), [("cpu", "numba"), ("cuda", "triton")])
def test_what_is_not_installed_is_named(without, monkeypatch, device, package):
    without(package)
    monkeypatch.setattr(routes, "_CUDA", True)
    assert routes.name_for(device, torch.float32) == "portable"
    said = f"{package} is not installed (pip install {package})"
    assert routes.reason_for(device, torch.float32) == said


def test_a_gpu_of_another_maker_gets_plain_torch(without, monkeypatch):
    without()
    monkeypatch.setattr(routes, "_CUDA", False)
    assert routes.name_for("cuda", torch.float32) == "portable"
    said = "plain torch serves every device; none of ours is written for cuda"
    assert routes.reason_for("cuda", torch.float32) == said


def test_every_module_offers_the_same_kernels():
    kernels = ["keep_largest", "keep_above", "keep_batch", "product", "residual", "dots",
               "sum_by_latent", "weighted_sum", "add_rows", "squared_norm", "update_rows"]  # fmt: skip
    triton = pytest.importorskip("monosemy.tensors.triton_kernels")
    for module in (compiled, portable, triton):
        assert [name for name in kernels if not callable(getattr(module, name, None))] == []
    assert routes.kernels_for(torch.zeros(1)) is compiled
    assert routes.kernels_for(torch.zeros(1, dtype=torch.float16)) is portable


def test_bfloat16_is_asked_of_the_processor(monkeypatch):
    for flags, answer in [({}, False), ({"avx512_bf16": False}, False), ({"amx_bf16": True}, True)]:
        routes.multiplies_bfloat16.cache_clear()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: flags, raising=False)
        assert routes.multiplies_bfloat16("cpu") is answer
    routes.multiplies_bfloat16.cache_clear()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not routes.multiplies_bfloat16("cuda")
    assert not routes.multiplies_bfloat16("mps")
    routes.multiplies_bfloat16.cache_clear()
