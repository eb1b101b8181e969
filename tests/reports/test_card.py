from monosemy.reports.card import markdown, write_card

CARD = {
    "recipe": {"heads": 4, "width": 128, "neurons": 512, "vocabulary": 4096, "context": 256,
               "steps": 100, "batch": 32, "seed": 7},
    "text": {
        "python": "3.11.7",
        "train": {"documents": 451, "characters": 7_150_763, "fingerprint": "ab" * 32},
        "heldout": {"documents": 57, "characters": 1_057_343, "fingerprint": "cd" * 32},
    },
    "train_tokens": 1_959_736,
    "heldout_tokens": 302_385,
    "seen_tokens": 819_200,
    "parameters": 1_279_872,
    "cross_entropy": {"specimen": 3.661, "specimen_on_train": 2.71, "unigram": 6.569,
                      "bigram": 4.713},
    "curve": [
        {"step": 25, "loss": 5.0, "heldout": 5.2},
        {"step": 50, "loss": 4.0, "heldout": 4.4},
        {"step": 75, "loss": 3.5, "heldout": 4.1},
        {"step": 100, "loss": 3.0, "heldout": 3.9},
    ],
    "samples": ["def read(path):\n    return path\n"],
}  # fmt: skip


def test_every_number_is_on_the_card():
    text = markdown(CARD)
    for wanted in ("3.661", "4.713", "6.569", "2.710", "1,959,736", "302,385", "819,200", "3.11.7"):
        assert wanted in text
    assert "| train | 451 | 7,150,763 |" in text
    assert "def read(path):" in text


def test_the_card_says_whether_the_held_out_loss_still_falls():
    assert "still falls" in markdown(CARD)
    rising = [*CARD["curve"][:3], {"step": 100, "loss": 2.0, "heldout": 4.3}]
    assert "is lowest at step 75" in markdown(CARD | {"curve": rising})


def test_the_card_and_its_figure_are_written_side_by_side(tmp_path):
    page = write_card(CARD, tmp_path)
    figure = (tmp_path / "specimen.svg").read_text(encoding="utf-8")
    assert "](specimen.svg)" in page.read_text(encoding="utf-8")
    assert figure.startswith("<svg")
    assert "bigram model, 4.71" in figure
