"""Every form: told from its files, read, written, read back; and no file that harms."""

import json
import os
import pickle
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monosemy.dictionaries import files
from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.foreign import formats, saelens
from monosemy.dictionaries.semantics import differences, semantics
from monosemy.foundation.errors import UserError

RECORDED = Path(__file__).resolve().parents[2] / "reference"
# One or more of every form, as the libraries that own them wrote them.
SEEDS = {
    "saelens": ("saelens/jumprelu", "saelens/gated", "saelens/skip_transcoder",
                "saelens/matching_pursuit", "saelens/matryoshka_checkpoint"),
    "saelens_old": ("saelens/old/topk", "saelens/old/standard"),
    "sparsify": ("sparsify/library/topk",),
    "dictionary_learning": ("dictionary_learning/library/BatchTopKSAE",
                            "dictionary_learning/library/MatryoshkaBatchTopKSAE"),
    "circuit_tracer": ("circuit_tracer/jumprelu", "circuit_tracer/across-relu"),
    "gemma_scope": ("gemma_scope/gemma-scope-2b-pt-transcoders/layer_1/width_16k/average_l0_9",
                    "gemma_scope/gemma-scope-2-1b-pt/resid_post/layer_5_width_16k_l0_small",
                    "gemma_scope/gemma-scope-2-1b-pt/clt/width_262k_l0_big"),
    "openai": ("openai",),
    "llama_scope": ("llama_scope/L2R-8x", "llama_scope/R1-L2R"),
    "llamascopium": ("llamascopium/jumprelu", "llamascopium/clt-topk",
                     "llamascopium/crosscoder-relu"),
    "qwen_scope": ("qwen_scope/SAE-Res-Qwen3-1.7B-Base-L0_4",),
}  # fmt: skip
PAIRS = [(form, RECORDED / seed) for form, seeds in SEEDS.items() for seed in seeds]
WRITTEN = [form.name for form in formats.FORMATS.values() if form.write]


@pytest.fixture(params=PAIRS, ids=lambda pair: f"{pair[0]}: {pair[1].name}")
def recorded(request):
    """The name of a form, and a folder that its library wrote."""
    return request.param


def _refusal(call, *given, **named):
    with pytest.raises(UserError) as caught:
        call(*given, **named)
    return str(caught.value)


# --- which it is ----------------------------------------------------------------------------------


def test_there_is_a_seed_of_every_form():
    assert formats.FORMATS.keys() - {"monosemy"} == SEEDS.keys()


def test_a_form_is_told_from_its_files(recorded):
    name, at = recorded
    assert formats.detect(at).name == name
    assert list(formats.read(at)) == list(formats.read(at, name))


def test_our_own_architectures_are_told_from_saelens(ours, theirs, tmp_path):
    files.save(ours, tmp_path / "ours")
    files.save(theirs, tmp_path / "theirs")
    assert formats.detect(tmp_path / "ours").name == "monosemy"
    assert formats.detect(tmp_path / "theirs").name == "saelens"


def test_what_no_form_knows(tmp_path):
    message = _refusal(formats.detect, tmp_path)
    assert message.startswith(f"{tmp_path} is in no form that is known; known: saelens (SAELens 6)")
    assert all(name in message for name in formats.FORMATS)
    assert _refusal(formats.find, "sparsfy").endswith("did you mean 'sparsify'?")
    assert "no such file or folder" in _refusal(formats.read, tmp_path / "x", "sparsify")


def test_what_two_forms_know(tmp_path):
    shutil.copytree(RECORDED / "saelens" / "jumprelu", tmp_path, dirs_exist_ok=True)
    shutil.copytree(RECORDED / "sparsify" / "library" / "topk", tmp_path, dirs_exist_ok=True)
    shutil.copy(RECORDED / "saelens" / "jumprelu" / "cfg.json", tmp_path)
    message = _refusal(formats.detect, tmp_path)
    assert message == f"{tmp_path} looks like saelens and sparsify; say which it is"
    assert files.load(tmp_path, format="saelens").selection.kind == "jumprelu"


# --- there and back -------------------------------------------------------------------------------


def test_what_a_form_does_not_refuse_comes_back_from_it(case, tmp_path):
    """Every ordered pair of forms that can both say it, because each gives back the same."""
    dictionary, said = case[0], []
    for name in WRITTEN:
        if not formats.refusals({"": dictionary}, formats.find(name)):
            formats.write({"": dictionary}, tmp_path / name, name)
            again = files.load(tmp_path / name, format=name)
            assert differences(dictionary, again) == []
            said.append(name)
    assert "monosemy" in said


@pytest.mark.parametrize("kind", ["relu", "topk", "uncentred", "gated"])
def test_plain_dictionaries_pass_from_form_to_form(named, kind, tmp_path):
    dictionary = named(kind)
    able = [name for name in WRITTEN
            if not formats.refusals({"": dictionary}, formats.find(name))]  # fmt: skip
    assert len(able) > 2
    for one in able:
        for other in able:
            here, there = tmp_path / one / other / "a", tmp_path / one / other / "b"
            formats.write({"": dictionary}, here, one)
            formats.write({"": files.load(here, one)}, there, other)
            assert differences(dictionary, files.load(there, other)) == []


def test_every_refusal_has_words(case, tmp_path):
    for name in WRITTEN:
        reasons = formats.refusals({"": case[0]}, formats.find(name))
        assert all(len(reason.split()) > 3 for reason in reasons)
        if reasons:
            assert reasons[0] in _refusal(formats.write, {"": case[0]}, tmp_path / "new", name)
            assert not (tmp_path / "new").exists()


def test_a_form_that_is_only_read(named, tmp_path):
    message = _refusal(formats.write, {"": named("topk")}, tmp_path / "new", "qwen_scope")
    assert message.startswith("qwen_scope is read, not written; written are: saelens, monosemy, ")


@pytest.mark.parametrize("part", ["../out", "/out", "a/../../out", "a//b", ""])
def test_a_part_cannot_leave_its_folder(named, part, tmp_path):
    collection = {"inside": named("topk"), part: named("relu")}
    message = _refusal(formats.write, collection, tmp_path / "new", "saelens")
    assert "cannot be a folder" in message or "a part without a name" in message
    assert sorted(tmp_path.iterdir()) == []


# --- files that are damaged or mean harm ----------------------------------------------------------

_NASTY = (
    None, True, -1, 0, 1.5, 10**30, -(10**400), 1e308, "", "topk", "\x00", "../..", [], [[]], [1], {},
    {"a": {}}, ["topk", 3], "float8", "torch.float64", {"k": -1},
)  # fmt: skip


# What the records hold beside the files of a form.
_BESIDE = ("expected.safetensors", "facts.json")


class _Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("protocol", [0, 2])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, protocol):
    seen = 0
    for name, at in PAIRS:
        for pt in [found.name for found in at.glob("*.pt")]:
            folder, mark = tmp_path / str(seen) / at.name, tmp_path / f"mark{seen}"
            shutil.copytree(at, folder)
            torch.save({"bias": _Touch(mark)}, folder / pt, pickle_protocol=2)
            if protocol == 0:  # as torch once wrote, without a zip around it
                (folder / pt).write_bytes(pickle.dumps({"bias": _Touch(mark)}, 0))
            message = _refusal(formats.read, folder, name)
            assert "would run code" in message or "is not a whole torch file" in message
            assert not mark.exists()
            seen += 1
    assert seen >= 4
    # It would have run.
    pickle.loads(pickle.dumps(_Touch(tmp_path / "control")))
    assert (tmp_path / "control").exists()


def _places(value, at=()):
    """Every place in a JSON value."""
    yield at
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from _places(value[key], (*at, key))


def _changed_json(draw, data):
    """A value somewhere in it is another, or gone."""
    value = json.loads(data)
    *above, last = draw(st.sampled_from([at for at in _places(value) if at]))
    spot = value
    for key in above:
        spot = spot[key]
    if draw(st.booleans()):
        spot[last] = draw(st.sampled_from(_NASTY))
    else:
        del spot[last]
    return json.dumps(value).encode()


def _changed_header(draw, data):
    """A safetensors header with something changed, its length made right again or not."""
    size = int.from_bytes(data[:8], "little")
    header = _changed_json(draw, data[8 : 8 + size])
    told = len(header) if draw(st.booleans()) else draw(st.sampled_from([0, size, 2**40, 2**63]))
    return told.to_bytes(8, "little") + header + data[8 + size :]


def _changed_bytes(draw, data):
    """Cut off, longer, or with bits turned."""
    kind = draw(st.sampled_from(["cut", "more", "turned", "zeros"]))
    place = draw(st.integers(0, max(len(data) - 1, 0)))
    if kind == "cut":
        return data[:place]
    if kind == "more":
        return data[:place] + draw(st.binary(min_size=1, max_size=20)) + data[place:]
    if kind == "zeros":
        return data[:place] + bytes(min(64, len(data) - place)) + data[place + 64 :]
    turned = bytearray(data)
    for at in draw(st.lists(st.integers(0, max(len(data) - 1, 0)), min_size=1, max_size=4)):
        if turned:
            turned[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(turned)


@st.composite
def damage(draw, name):
    """A folder of a form with one file changed, as ``(seed, file, new content)``; `None`: gone."""
    at = RECORDED / draw(st.sampled_from(SEEDS[name]))
    inside = sorted(found for found in at.rglob("*") if found.is_file())
    inside = [found for found in inside if found.name not in _BESIDE]
    inside = [found for found in inside if found.suffix != ".recorded"]
    file = draw(st.sampled_from(inside))
    data = file.read_bytes()
    ways = [_changed_bytes]
    if file.suffix == ".json":
        ways = [_changed_json, _changed_json, _changed_bytes]
    if file.suffix == ".safetensors":
        ways = [_changed_header, _changed_bytes]
    if draw(st.integers(0, 19)) == 0:
        return at, file.relative_to(at), None
    return at, file.relative_to(at), draw(st.sampled_from(ways))(draw, data)


def _outcome(name, at, file, content):
    """What reading the damaged copy came to; anything but a refusal or dictionaries is raised."""
    with tempfile.TemporaryDirectory() as above:
        # Folders' names tell some forms how many latents there are.
        folder = Path(above) / at.parent.name / at.name
        shutil.copytree(at, folder)
        (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
        form = formats.FORMATS[name]
        assert form.recognises(folder) in (True, False)
        try:
            found = form.read(folder)
        except UserError:
            return "refused"
        assert found
        for dictionary in found.values():
            assert isinstance(dictionary, Dictionary)
            assert not dictionary.training
            json.dumps(semantics(dictionary))
        return "read"


@pytest.mark.parametrize("name", SEEDS)
def test_damage_is_refused_or_harmless(name):
    """No crash, no hang, no other error: a `UserError`, or dictionaries that hold together."""
    outcomes = []

    @settings(max_examples=60, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(damage(name))
    def check(found):
        outcomes.append(_outcome(name, *found))

    check()
    assert outcomes.count("refused") > 10


@pytest.mark.parametrize("text", ["[" * 100_000, '{"k": ' + "7" * 5000 + "}", "\ud800", "NaN"])
def test_json_that_breaks_parsers(recorded, text, tmp_path):
    name, at = recorded
    folder = tmp_path / at.parent.name / at.name
    shutil.copytree(at, folder)
    broken = [found for found in folder.rglob("*.json") if found.name not in _BESIDE]
    for file in broken:
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
    if broken:
        assert len(_refusal(formats.read, folder, name)) > 20
        assert formats.FORMATS[name].recognises(folder) in (True, False)
    else:
        assert formats.read(folder, name)


def test_damage_is_found_only_where_it_is(recorded):
    """The same road with nothing changed."""
    name, at = recorded
    file = next(found for found in sorted(at.rglob("*")) if found.is_file())
    assert _outcome(name, at, file.relative_to(at), file.read_bytes()) == "read"


def test_the_reader_of_the_native_form_is_the_one_of_files():
    assert formats.find("saelens").read is saelens.read
