"""Word classes and first letters."""

from monosemy.data.documents import Document
from monosemy.data.labels.english import CLASSES, first_letters, word_classes
from monosemy.data.labels.spans import FIRST, LAST

STORY = 'Once there was a cat. Tom saw it. She told Tom: "Red dogs bark!" I said Tom\'s cat ran.'


def classes(text):
    return {text[s.start : s.end]: s.parent for s in word_classes(Document("x", text))}


def test_words_get_their_class_and_others_none():
    found = classes(STORY)
    assert (found["cat"], found["it"], found["She"]) == ("animal", "pronoun", "pronoun")
    assert (found["told"], found["said"], found["ran"]) == ("speech", "speech", "motion")
    assert (found["Red"], found["was"]) == ("colour", None)


def test_names_are_written_large_inside_a_sentence():
    spans = [s for s in word_classes(Document("x", STORY)) if s.child == "tom"]
    assert [s.parent for s in spans] == ["name", "name"], "at the beginning of a sentence too"
    assert classes("They met Ann.")["Ann"] == "name"


def test_an_unknown_word_that_begins_a_sentence_is_left_out():
    assert "Once" not in classes(STORY)
    assert "Bob" not in classes("Bob ran.")
    assert classes("Then Bob ran. Bob fell.")["Bob"] == "name"


def test_the_last_token_stands_for_a_word_and_the_first_for_a_letter():
    assert {s.token for s in word_classes(Document("x", STORY))} == {LAST}
    assert {s.token for s in first_letters(Document("x", STORY))} == {FIRST}


def test_first_letters_are_small():
    text = "Apples and (Bees), don't"
    found = [(text[s.start : s.end], s.parent) for s in first_letters(Document("x", text))]
    assert found == [("Apples", "a"), ("and", "a"), ("Bees", "b"), ("don't", "d")]


def test_no_word_is_in_two_lists():
    from monosemy.data.labels.english import _LISTS

    assert len(CLASSES) == sum(len(words.split()) for words in _LISTS.values())
