"""Runs `triton_cases.py` where Triton can run, and compiles its kernels for GPUs that are not here.

Triton reads whether to interpret when it is first imported, so the cases get a process each.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

CASES = Path(__file__).with_name("triton_cases.py")
COMPILE = Path(__file__).with_name("triton_compile.py")

pytest.importorskip("triton")


def _run(*words, **environment):
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True, text=True, timeout=280, env=os.environ | environment,
        cwd=CASES.parents[2],
    )  # fmt: skip


def _cases(*words, cases=CASES, **environment):
    return _run("-m", "pytest", str(cases), "-p", "no:cacheprovider", *words, **environment)


def test_every_kernel_in_the_interpreter():
    done = _cases(TRITON_INTERPRET="1", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_a_case_that_is_wrong_fails(tmp_path):
    text = CASES.read_text(encoding="utf-8")
    wrong = tmp_path / "triton_cases.py"
    wrong.write_text(text.replace("== [0, 0, 7] * 2", "== [0, 0, 8] * 2"), encoding="utf-8")
    done = _cases("-k", "at_latent_zero", cases=wrong, TRITON_INTERPRET="1")
    assert done.returncode == 1
    assert "1 failed" in done.stdout


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_every_kernel_on_the_gpu():
    done = _cases(TRITON_INTERPRET="0")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90])
def test_every_kernel_compiles_for_a_gpu_and_spills_no_registers(capability, tmp_path):
    done = _run(str(COMPILE), str(capability), TRITON_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
