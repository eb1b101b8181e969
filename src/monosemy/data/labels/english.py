"""Labels of English words: word classes from short closed lists, and first letters."""

from __future__ import annotations

import re
from collections.abc import Iterator

from monosemy.data.documents import Document
from monosemy.data.labels.spans import FIRST, LAST, Hierarchy, Span

_WORD = re.compile(r"[A-Za-z]+(?:['’][a-z]+)?")
# Behind these a word is written large because a sentence begins.
_BEGINS = frozenset(".!?:\"“”‘'\n*-")
_LISTS = {
    "pronoun": "he she they it we you i him her them us me his hers their theirs its our my your mine",
    "animal": "cat dog bird fish bear rabbit frog duck mouse cow horse pig lion tiger monkey elephant "
    "fox wolf sheep goat bee butterfly spider snake turtle owl squirrel kitten puppy chicken hen "
    "bunny ant worm bug whale shark dolphin zebra giraffe deer dinosaur dragon crab",
    "colour": "red blue green yellow pink purple orange black white brown grey gray gold silver",
    "family": "mom mommy mum mummy dad daddy mother father brother sister son daughter baby grandma "
    "grandpa grandmother grandfather aunt uncle cousin parents family",
    "body": "hand hands head face eye eyes ear ears nose mouth leg legs arm arms foot feet hair tail "
    "finger fingers tummy knee teeth tooth",
    "food": "apple cake cookie cookies bread milk soup pizza candy egg eggs cheese fruit banana honey "
    "sandwich water juice dinner lunch breakfast food carrot ice cream",
    "number": "one two three four five six seven eight nine ten hundred thousand first second third",
    "day": "monday tuesday wednesday thursday friday saturday sunday today tomorrow yesterday day "
    "night morning afternoon evening week year",
    "place": "park house home room garden forest tree store shop school beach farm kitchen yard road "
    "street town village river lake sea mountain hill field zoo bed",
    "feeling": "happy sad angry scared afraid excited proud sorry surprised tired worried bored lonely "
    "glad mad upset brave curious jealous nervous",
    "size": "big small little tiny huge tall short long large giant",
    "speech": "said asked told shouted cried replied called yelled whispered answered says say tell "
    "ask talk",
    "motion": "went ran walked jumped came go run walk jump come climbed flew fly fell swam danced "
    "hopped followed chased left",
    "conjunction": "and but or so because if when while until that",
    "preposition": "in on at to from with of by for under over into out up down near behind around",
    "article": "the a an",
}  # fmt: skip
CLASSES = {word: parent for parent, words in _LISTS.items() for word in words.split()}


def word_classes(document: Document) -> list[Span]:
    """Every word with its class, or none; the last token stands for it, where it is all read.

    A word that is written large inside a sentence and is in no list is a name, and so is the same
    word at the beginning of one. Other words that begin a sentence are left out where they are in
    no list: they may be either.
    """
    words = list(_words(document.text))
    names = {word for _, _, word, large, begins in words if large and not begins}
    spans = []
    for start, end, word, large, begins in words:
        parent = CLASSES.get(word) or ("name" if large and word in names else None)
        if parent is None and large and begins:
            continue
        spans.append(Span(start, end, parent, word, LAST))
    return spans


def first_letters(document: Document) -> list[Span]:
    """Every word with its first letter; its first token stands for it, and is the child."""
    return [
        Span(start, end, word[0], token=FIRST) for start, end, word, _, _ in _words(document.text)
    ]


def _words(text: str) -> Iterator[tuple[int, int, str, bool, bool]]:
    """(first character, end, word in small letters, written large, begins a sentence)."""
    for found in _WORD.finditer(text):
        start, word = found.start(), found[0]
        before = text[:start].rstrip(" ")[-1:] if start else ""
        large = word[0].isupper() and word != "I" and not word.startswith(("I'", "I’"))
        yield start, found.end(), word.lower(), large, not before or before in _BEGINS


WORDS = Hierarchy(
    "words",
    "classes of English words: pronoun (he, she, ...), animal, colour, family, name, number, ...",
    word_classes,
)
LETTERS = Hierarchy(
    "letters",
    "the first letter of English words: the task on which absorption was found",
    first_letters,
)
