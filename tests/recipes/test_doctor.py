import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.recipes import doctor
from monosemy.recipes.doctor import cache, devices, examine, kernels
from monosemy.tensors import routes

SPEED = {"problem": None, "float32_gflops": 1.0, "bfloat16_gflops": 2.0, "step_ms": 1.0,
         "step_ms_proposals": 1.0}  # fmt: skip


@pytest.fixture
def unmeasured(monkeypatch):
    monkeypatch.setattr(doctor, "measure", lambda device, progress: SPEED)


def test_the_examination_is_json_and_says_what_is_here(unmeasured):
    found = examine()
    assert json.loads(json.dumps(found)) == found
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["torch"] == torch.__version__
    assert set(found["speeds"]) == set(found["devices"]) == set(devices())
    threads = found["threads"]
    assert threads["torch"] == threads["workers"] == torch.get_num_threads()
    assert 1 <= threads["cores"] <= (os.cpu_count() or 1)
    assert found["specimen"] == {"found": True, "problem": None}
    assert isinstance(found["advice"], list)


def test_what_is_not_installed_has_no_version(unmeasured, monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("monosemy", "numba", "no-such-package"))
    monkeypatch.setattr(doctor, "OPTIONAL", {"json": ("a", "b"), "no_such_module": ("c", "d")})
    found = examine()
    assert found["versions"]["no-such-package"] is None
    assert found["versions"]["monosemy"]
    assert found["optional"] == {
        "json": {"installed": True, "for": "a", "install": "b"},
        "no_such_module": {"installed": False, "for": "c", "install": "d"},
    }


def test_kernels_are_those_that_run_and_say_why(monkeypatch):
    monkeypatch.setattr(routes, "multiplies_bfloat16", lambda device: True)
    rows = {(row["device"], row["dtype"]): row for row in kernels()}
    assert len(rows) == 6
    for (device, dtype), row in rows.items():
        kind = getattr(torch, dtype)
        assert row["kernels"] == routes.name_for(device, kind)
        assert row["reason"] == routes.reason_for(device, kind)
        assert row["proposals"] is (row["kernels"] != "portable"), "plain kernels do not propose"
    monkeypatch.setattr(routes, "multiplies_bfloat16", lambda device: False)
    assert not any(row["proposals"] for row in kernels())


def test_a_gpu_is_named(monkeypatch):
    assert "cpu" in devices()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H9000")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    found = devices()
    assert (found["cuda"], found["mps"]) == ("H9000", "Apple's GPU")


def test_the_specimen_is_missed(unmeasured, monkeypatch):
    def missing(name):
        raise UserError("the specimen's files are not whole")

    monkeypatch.setattr(doctor, "load", missing)
    found = examine()
    assert found["specimen"] == {"found": False, "problem": "the specimen's files are not whole"}
    assert "the specimen's files are not whole" in found["advice"]


# --- where compiled kernels are kept -------------------------------------------------------------

SAY = "import json; from monosemy.recipes.doctor import cache; print(json.dumps(cache()))"


def asked_with(**environment):
    done = subprocess.run(
        [sys.executable, "-c", SAY], env=os.environ | environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def test_the_cache_is_where_numba_is_told_to_put_it(tmp_path):
    found = asked_with(NUMBA_CACHE_DIR=str(tmp_path / "kept"))
    assert Path(found["folder"]).is_relative_to(tmp_path / "kept")
    assert found["writable"]


def test_numba_that_finds_no_place_is_seen():
    # The only locator that is left serves notebooks, so none serves a file: as with a package and
    # a home that may not be written to.
    found = asked_with(NUMBA_CACHE_LOCATOR_CLASSES="IPythonCacheLocator")
    assert found == {"folder": None, "writable": False}


def test_a_cache_that_may_not_be_written_to_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "_cache_folder", lambda: tmp_path / "not" / "yet")
    assert cache()["writable"], "the folder is made when it is needed"
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    assert cache() == {"folder": str(tmp_path / "not" / "yet"), "writable": False}


def test_without_numba_there_is_no_cache(monkeypatch):
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert cache() == {"folder": None, "writable": False}


# --- whether bfloat16 pays -----------------------------------------------------------------------


@pytest.fixture
def forgetting():
    routes.multiplies_bfloat16.cache_clear()
    yield
    routes.multiplies_bfloat16.cache_clear()


@pytest.mark.parametrize("name", ["_is_amx_tile_supported", "_is_avx512_bf16_supported", None])
def test_an_older_torch_is_asked_by_its_own_names(forgetting, monkeypatch, name):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for one in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, one, lambda one=one: one == name, raising=False)
    assert routes.multiplies_bfloat16("cpu") is (name is not None)


def test_without_onednn_bfloat16_does_not_pay(forgetting, monkeypatch):
    flags = {"amx_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not routes.multiplies_bfloat16("cpu")


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_that_a_gpu_emulates_does_not_pay(forgetting, monkeypatch, native):
    def supported(including_emulation=True):
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert routes.multiplies_bfloat16("cuda") is native
