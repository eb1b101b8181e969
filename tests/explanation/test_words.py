import pytest
from transformers import AutoTokenizer

from monosemy.explanation.words import TokenText


def test_the_texts_of_the_tokens_are_the_text(tokenizer):
    shown = TokenText(tokenizer)
    written = "the naïve cat\n\n   sat  on Zoë's mat"
    ids = tokenizer(written)["input_ids"]
    assert "".join(shown(i) for i in ids) == written


def test_a_part_of_a_character_is_shown_as_its_bytes(tokenizer):
    shown = TokenText(tokenizer)
    first = tokenizer.convert_tokens_to_ids("ð")  # the letter for the byte 0xf0
    assert shown(first) == r"\xf0"
    assert "\N{REPLACEMENT CHARACTER}" in tokenizer.decode([first])


def test_special_tokens_keep_their_name(tokenizer):
    assert TokenText(tokenizer)(tokenizer.bos_token_id) == "<bos>"


@pytest.mark.parametrize("folder", ["models/stories260K", "models/minilm-l6"])
def test_spaces_before_words_stay_whatever_the_tokenizer(shared_data, folder):
    tokenizer = AutoTokenizer.from_pretrained(shared_data / folder)
    shown = TokenText(tokenizer)
    ids = tokenizer("once upon a time", add_special_tokens=False)["input_ids"]
    assert "".join(shown(i) for i in ids) == " once upon a time"
    # What decoding a token alone would give: words run together.
    assert "".join(tokenizer.decode([i]) for i in ids) != " once upon a time"
