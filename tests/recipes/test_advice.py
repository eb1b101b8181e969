"""Each finding has its sentence, and says nothing where all is well."""

import copy

import pytest

from monosemy.recipes.advice import advise

WELL = {
    "versions": {"numba": "0.61"},
    "processor": {"machine": "x86_64", "onednn": True, "mkl": True},
    "threads": {"torch": 8, "workers": 8, "cores": 8},
    "cache": {"folder": "cache", "writable": True},
    "specimen": {"found": True, "problem": None},
    "speeds": {
        "cpu": {
            "problem": None, "float32_gflops": 100.0, "bfloat16_gflops": 300.0,
            "step_ms": 40.0, "step_ms_proposals": 30.0,
        }
    },
}  # fmt: skip
FINDINGS = {
    "numba": (
        {"versions.numba": None, "cache.folder": None, "cache.writable": False},
        "numba is missing; the fast kernels of the processor need it: pip install numba",
    ),
    "no cache": (
        {"cache.folder": None, "cache.writable": False},
        "numba cannot keep what it compiles (neither beside the package nor in the user's own "
        "cache), so every start compiles again or fails: set NUMBA_CACHE_DIR to a folder that you "
        "may write to",
    ),
    "cache": (
        {"cache.writable": False},
        "numba cannot keep what it compiles (cache), so every start compiles again or fails: set "
        "NUMBA_CACHE_DIR to a folder that you may write to",
    ),
    "threads": ({"threads.torch": 1}, "torch uses 1 thread on 8 cores: set OMP_NUM_THREADS=8"),
    "mkl": (
        {"processor.mkl": False},
        "this torch was built without MKL, so its products are slow: install the one from PyPI or "
        "pytorch.org (pip install --force-reinstall torch)",
    ),
    "onednn": (
        {"processor.onednn": False, "processor.mkl": False},
        "this torch was built without oneDNN and MKL, so its products are slow: install the one "
        "from PyPI or pytorch.org (pip install --force-reinstall torch)",
    ),
    "bfloat16": (
        {"speeds.cpu.bfloat16_gflops": 20.0},
        "bfloat16 products are slower than float32 ones on cpu (emulated): read models with "
        "--dtype float32 there, and train with --set precision=float32",
    ),
    "proposals": (
        {"speeds.cpu.step_ms_proposals": 60.0},
        "a small step took longer with bfloat16 proposals on cpu: if larger ones do too, train "
        "with --set precision=float32",
    ),
    "step": (
        {"speeds.cpu.problem": "RuntimeError: no", "speeds.cpu.bfloat16_gflops": None},
        "measuring failed on cpu: RuntimeError: no",
    ),
    "specimen": ({"specimen.problem": "the files are gone"}, "the files are gone"),
}  # fmt: skip


def changed(changes):
    found = copy.deepcopy(WELL)
    for key, value in changes.items():
        *outer, last = key.split(".")
        place = found
        for name in outer:
            place = place[name]
        place[last] = value
    return found


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def test_where_all_is_well_there_is_nothing_to_do():
    assert advise(WELL) == []


@pytest.mark.parametrize(("changes", "sentence"), FINDINGS.values(), ids=FINDINGS)
def test_a_finding_has_its_sentence_and_no_other(changes, sentence):
    assert advise(changed(changes)) == [sentence]


def test_the_setting_that_takes_the_threads_is_named(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert advise(changed({"threads.torch": 1})) == [
        "torch uses 1 thread on 8 cores: unset OMP_NUM_THREADS"
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"threads.torch": 1, "threads.cores": 1},
        {"processor.machine": "arm64", "processor.mkl": False},
        {"speeds.cpu.step_ms_proposals": 44.0},
        {"speeds.cpu.step_ms_proposals": None},
    ],
)
def test_what_nobody_can_mend_or_is_within_noise_is_not_said(changes):
    assert advise(changed(changes)) == []


def test_several_are_told_most_harmful_first():
    found = changed({"threads.torch": 1, "speeds.cpu.problem": "it broke"})
    assert [line.split()[0] for line in advise(found)] == ["measuring", "torch"]
