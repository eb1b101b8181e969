"""Concepts of English words: word classes and endings, and lists that a folder brings."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from monosemy.data.concepts.sets import LAST, Concept, ConceptSet, ConceptSource, Mark
from monosemy.data.documents import Document, decode
from monosemy.data.labels.english import CLASSES, word_classes
from monosemy.foundation.errors import UserError

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_FEWEST = 5  # names of a list that are looked for; a shorter list is no kind of thing
_LONGEST = 4  # words of a name
_ENDINGS = ("ing", "ed", "ly", "s", "er", "est", "tion", "ness", "ful", "less", "able", "ment")
_FIXED = (
    Concept("word", "place", "a word", token=LAST),
    Concept("word of a list", "class", "a word of a closed list", ("word",), LAST),
    Concept("name", "class", "written large inside a sentence, and in no list", ("word",), LAST),
    Concept("in quotation marks", "place", "between an opening and a closing quotation mark"),
    Concept("first word of a sentence", "place", "large, behind . ! or ?, or first", ("word",), LAST),
    Concept("last word of a sentence", "place", "before a full stop, ! or ?", ("word",), LAST),
    Concept("first sentence", "place", "of its document"),
    Concept("contraction", "form", "a word with an apostrophe", ("word",), LAST),
    Concept("first word of a line", "place", "of any line", ("word",), LAST),
)  # fmt: skip
_QUOTED = re.compile(r"“[^”\n]{1,400}”|\"[^\"\n]{1,400}\"")
_STOP = ".!?"


def english(lists: str | Path | None = None) -> ConceptSource:
    """Word classes, endings and places in a sentence; with `lists`, also the kinds of thing there.

    Parameters
    ----------
    lists : a folder with ``names/NAME.txt`` (a name a line) or ``relations.json`` (relations with
        ``samples`` of subject and object, and ``properties`` that say what either is), or both.

    Errors
    ------
    `UserError` for a folder that has neither, and for relations that are written otherwise.
    """
    phrases = _read_lists(Path(lists)) if lists is not None else {}
    concepts = ConceptSet((*_FIXED, *_of_classes(), *_of_endings(), *_of_lists(phrases)))
    kinds = defaultdict[str, list[str]](list)
    for kind, names in phrases.items():
        for name in names:
            kinds[name].append(f"list: {kind}")

    def marks(document: Document) -> list[Mark]:
        return [*_word_marks(document), *_places(document.text), *_listed(document.text, kinds)]

    about = "word classes, endings and places in a sentence of English text"
    return ConceptSource("english", about, concepts, marks)


def _of_classes() -> Iterator[Concept]:
    for kind in dict.fromkeys(CLASSES.values()):
        yield Concept(
            f"class {kind}", "class", f"a word of the list {kind}", ("word of a list",), LAST
        )
    for word, kind in CLASSES.items():
        yield Concept(f"word {word}", "word", word, (f"class {kind}",), LAST)


def _of_endings() -> Iterator[Concept]:
    for ending in _ENDINGS:
        about = f"a word of five letters or more that ends in -{ending}"
        yield Concept(f"ending -{ending}", "form", about, ("word",), LAST)


def _of_lists(phrases: Mapping[str, Iterable[str]]) -> Iterator[Concept]:
    for kind in phrases:
        yield Concept(f"list: {kind}", "list", f"the name of a {kind}", token=LAST)


def _word_marks(document: Document) -> Iterator[Mark]:
    for span in word_classes(document):
        if span.parent == "name":
            yield span.start, span.end, "name"
        elif span.parent is not None:
            yield span.start, span.end, f"word {span.child}"
    for found in _WORD.finditer(document.text):
        start, end, word = found.start(), found.end(), found[0].lower()
        yield start, end, "word"
        if "'" in word or "’" in word:
            yield start, end, "contraction"
        for ending in _ENDINGS:
            if len(word) >= 5 and word.endswith(ending):
                yield start, end, f"ending -{ending}"


def _places(text: str) -> Iterator[Mark]:
    for found in _QUOTED.finditer(text):
        yield found.start(), found.end(), "in quotation marks"
    first = True
    for found in _WORD.finditer(text):
        start, end = found.span()
        before = text[:start][-4:].rstrip(" \"“'‘")[-1:]
        behind = text[end : end + 1]
        if text[start].isupper() and (not before or before in _STOP + "\n"):
            yield start, end, "first word of a sentence"
        if behind and behind in _STOP:
            yield start, end, "last word of a sentence"
            if first:
                first = False
                yield 0, end + 1, "first sentence"
        if not start or text[start - 1] == "\n":
            yield start, end, "first word of a line"


def _listed(text: str, kinds: Mapping[str, Iterable[str]]) -> Iterator[Mark]:
    """Names of up to four words; every kind that a name is of."""
    if not kinds:
        return
    spans = [found.span() for found in _WORD.finditer(text)]
    for i, (start, _) in enumerate(spans):
        for _, end in spans[i : i + _LONGEST]:
            for kind in kinds.get(text[start:end].lower(), ()):
                yield start, end, kind


# --- reading lists --------------------------------------------------------------------------------


def _read_lists(folder: Path) -> dict[str, set[str]]:
    found = defaultdict[str, set[str]](set)
    for path in sorted((folder / "names").glob("*.txt")):
        names = (line.strip().lower() for line in decode(path.read_bytes(), path).split("\n"))
        found[f"{path.stem} name"] |= {name for name in names if len(name) > 2}
    relations = folder / "relations.json"
    if relations.exists():
        for kind, name in _of_relations(
            json.loads(relations.read_text(encoding="utf-8")), relations
        ):
            found[kind].add(name)
    if not found:
        raise UserError(
            f"lists at {folder}: neither names/*.txt nor relations.json is there; name a folder that "
            "has one of them (--lists)"
        )
    return {kind: names for kind, names in sorted(found.items()) if len(names) >= _FEWEST}


def _of_relations(relations: Any, path: Path) -> Iterator[tuple[str, str]]:
    try:
        for one in relations.values():
            kinds = one["properties"]
            for sample in one["samples"]:
                for kind, name in ((kinds["domain_name"], sample["subject"]),
                                   (kinds["range_name"], sample["object"])):  # fmt: skip
                    if len(name) > 2 and len(name.split()) <= _LONGEST:
                        yield kind, name.lower()
    except (AttributeError, KeyError, TypeError):
        raise UserError(
            f"relations at {path}: wanted an object of relations, each with properties (domain_name, "
            "range_name) and samples (subject, object)"
        ) from None
