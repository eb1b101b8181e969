from monosemy.dictionaries.foreign import parts


def _put(root, *names):
    for name in names:
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name / "weights").touch()


def test_folders_come_in_the_order_of_their_numbers(tmp_path):
    _put(tmp_path, "layers.10", "layers.2", "best/layers.2", "layers.2/seed1")
    found = [
        at.relative_to(tmp_path).as_posix() for at in parts.folders_with(tmp_path, "weights", 2)
    ]
    assert found == ["best/layers.2", "layers.2", "layers.2/seed1", "layers.10"]
    assert len(parts.folders_with(tmp_path, "weights", 1)) == 2


def test_a_folder_that_holds_the_file_is_the_only_one(tmp_path):
    _put(tmp_path, "", "below")
    assert parts.folders_with(tmp_path, "weights", 3) == [tmp_path]
    assert parts.folders_with(tmp_path / "weights", "weights", 3) == []
    assert parts.folders_with(tmp_path / "nowhere", "weights", 3) == []


def test_names_that_can_be_folders():
    assert parts.name_reasons([""]) == []
    assert parts.name_reasons(["layers.0.mlp", "a/b", "..."]) == []


def test_names_that_cannot():
    assert parts.name_reasons([]) == ["there is no dictionary in it"]
    assert parts.name_reasons(["", "a"]) == [
        "a part without a name lies beside others; name it or write it alone"
    ]
    for name in ("../a", "a/../b", "/a", "a//b", "a/", ".", "a\\b", "a\0b", " "):
        assert parts.name_reasons([name]) == [
            f"the part {name!r} cannot be a folder; wanted a relative path without '.' and '..'"
        ]
