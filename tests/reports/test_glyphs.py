import pytest

from monosemy.reports.glyphs import quoted, visible


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("plain", "plain"),
        (" the", " the"),
        ("a\n\tb\r", "a⏎⇥b␍"),
        ("naïve 😀 字", "naïve 😀 字"),
        ("\n        x", "⏎   x"),
        ("a   b", "a   b"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u202etxt", "\\u202etxt"),
        ("\x00", "\\x00"),
        ("", ""),
    ],
)
def test_tokens_stay_on_one_line_and_drive_nothing(token, shown):
    assert visible(token) == shown


def test_spaces_show_as_dots_only_where_they_are_marked():
    assert visible("  ", marked=True) == "··"
    assert visible("  ") == "  "
    assert visible(" a", marked=True) == " a"


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" the", "␣the"),
        ("the", "the"),
        ("a ", "a␣"),
        ("   ", "␣␣␣"),
        ("\n" + " " * 8, "⏎␣×8"),
        (" " * 12, "␣×12"),
        ("", ""),
    ],
)
def test_a_token_alone_shows_its_spaces(token, shown):
    assert quoted(token) == shown
