import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from monosemy.reports import measures, terminal


def printed(renderable, width=120, colour=None, **options):
    file = io.StringIO()
    console = Console(
        file=file, width=width, color_system=colour, force_terminal=colour is not None, **options
    )
    console.print(renderable)
    return file.getvalue()


def joined(text):
    return " ".join(text.split())


def test_the_table_holds_the_main_measurements_of_every_column(report):
    text = printed(terminal.measurements(report))
    for one in measures.MEASURES:
        assert (one.label in text) == one.main
    for column in measures.columns(report):
        assert column.label in text
        assert column.meaning in joined(text)
    assert "16.12" in text
    assert "0.940–0.962" in text


def test_the_best_is_starred_and_the_random_models_loss_is_noted(report):
    lines = printed(terminal.measurements(report)).splitlines()
    cosine = next(line for line in lines if line.startswith("cosine"))
    assert cosine.split() == ["cosine", "0.950*", "0.750", "0.650", "0.350", "0.550"]
    loss = next(line for line in lines if line.startswith("loss recovered, from zero"))
    assert loss.split()[-5:] == ["0.950*", "0.750", "0.650", "0.350", "0.550†"]
    assert any("do not compare" in line for line in lines)


def test_without_controls_the_table_says_so(bare):
    text = printed(terminal.measurements(bare))
    assert "No controls were measured" in text
    assert "*" not in text.replace("*: best", "")
    assert "neurons" not in text


def test_a_missing_number_is_a_dash(bare):
    del bare["metrics"]["cosine"]
    lines = printed(terminal.measurements(bare)).splitlines()
    assert next(line for line in lines if line.startswith("cosine")).split() == ["cosine", "–"]


@pytest.mark.parametrize("width", [40, 60, 79, 80, 100, 137, 138, 200])
@pytest.mark.parametrize("colour", [None, "truecolor"])
def test_no_line_is_wider_than_the_terminal(report, width, colour):
    text = printed(terminal.render(report), width, None)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    assert printed(terminal.render(report), width, colour)


def test_intervals_move_with_the_room_there_is(report):
    assert "0.950* [0.940, 0.962]" in printed(terminal.measurements(report), 140)
    assert "0.940–0.962" in printed(terminal.measurements(report), 80)
    assert "0.940" not in printed(terminal.measurements(report), 70)


# --- features ------------------------------------------------------------------------------------


def test_without_colour_firing_tokens_stand_in_angle_quotes(report):
    text = printed(terminal.feature(report["features"][0]))
    assert "feature 100" in text
    assert "on 1.00% of tokens" in text
    assert "«return» self" in text
    assert "«⏎»" in text
    assert "10.00" in text
    assert "json/decoder0.py@1234" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("options", [{"no_color": True}, {"_environ": {"TERM": "dumb"}}])
def test_a_terminal_that_wants_no_colour_gets_the_quotes(report, options):
    text = printed(terminal.feature(report["features"][0]), colour="truecolor", **options)
    assert "«return»" in text
    assert "48;2" not in text


def test_with_colour_firing_tokens_are_shaded_by_activation(report):
    text = printed(terminal.feature(report["features"][0]), colour="truecolor")
    assert "«" not in text
    strong, weak = "48;2;255;154;31mreturn", "48;2;255;189;82m⏎"
    assert strong in text  # the strongest
    assert weak in text  # half as strong
    assert "48;2" not in printed(terminal.feature(report["features"][0]), colour="standard")


def test_tokens_cannot_drive_the_terminal(report):
    for one in report["features"]:
        text = printed(terminal.feature(one, contexts=7), 200)
        assert "\x1b" not in text
        assert "\u202e" not in text
    text = printed(terminal.features(report, contexts=7), 200)
    assert "\\x1b[31mred" in text
    assert "[bold]markup[/bold]" in text  # shown, not obeyed


def test_raised_and_lowered_tokens_show_their_spaces(report):
    text = joined(printed(terminal.feature(report["features"][0])))
    assert "raises ␣None" in text
    assert "lowers ⏎⏎ ing" in text


def test_what_a_feature_lacks_is_explained(report):
    one = {"id": 5, "density": 0.0, "max_activation": 0.0}
    text = printed(terminal.feature(one))
    assert "no context to show" in text
    assert "no direct effect on tokens was measured" in text
    text = printed(terminal.feature({**one, "effects_note": "BertModel has no unembedding"}))
    assert "BertModel has no unembedding" in text
    assert "No features to show" in printed(terminal.features({**report, "features": []}))


@pytest.mark.parametrize("room", [10, 20, 40, 80])
@pytest.mark.parametrize("peak", [0, 7, 19])
def test_a_context_is_cut_around_its_peak(room, peak):
    tokens = [f" w{i}" for i in range(20)]
    activations = [0.0] * 20
    activations[peak] = 2.0
    example = {"tokens": tokens, "activations": activations}
    shown = terminal.context(example, 2.0, room, None)
    assert shown.cell_len <= room
    assert f"« w{peak}»" in shown.plain
    assert ("…" in shown.plain) == (room < 80)


def test_a_token_wider_than_the_room_is_cut():
    example = {"tokens": ["x" * 50], "activations": [1.0]}
    assert terminal.context(example, 1.0, 20, None).cell_len == 20
