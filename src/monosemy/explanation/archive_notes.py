"""What people write beside an archive: labels, notes, tags, lists, views, steering runs, ratings."""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from monosemy.explanation.archive_notes_schema import (
    KINDS,
    MERGE,
    NAMED,
    Entry,
    create,
    refuse_other,
    refuse_strangers,
)
from monosemy.foundation.errors import UserError

# Seconds to wait for another process's transaction.
_PATIENCE = 30.0
_COLUMNS = ("id", "kind", "feature", "name", "text", "author", "archive", "created", "changed",
            "removed", "data")  # fmt: skip
_LONGEST = 100_000
_RANKED = 20_000


class Notes:
    """The mutable half of an archive: an SQLite file that several processes may write at once.

    May be used from several threads; every change is one transaction and is on the disk when the
    call returns.

    Parameters
    ----------
    path : the file; made where it is absent. ``None`` keeps everything in memory.
    archive : hash of the archive that is looked at; what is written carries it.
    writable : `False` never writes: an absent file reads as an empty one.

    Errors
    ------
    `UserError` for a file that is no SQLite database, or another one's, or of another version.
    """

    def __init__(self, path: str | Path | None, archive: str = "", writable: bool = True):
        self.path = Path(path) if path is not None else None
        self.archive = archive
        self.writable = writable
        self._lock = threading.RLock()
        self._connection = self._connect()

    def new_id(self) -> str:
        """An id that no other entry has, here or in a file that is merged later."""
        return uuid.uuid4().hex  # no seed: two machines must not draw the same

    def _connect(self) -> sqlite3.Connection:
        memory = self.path is None or (not self.writable and not self.path.exists())
        if self.path is not None and not memory:
            refuse_other(self.path)
        if memory:
            place, uri = ":memory:", False
        elif self.writable:
            place, uri = str(self.path), False
        else:
            place, uri = f"{Path(self.path or '').resolve().as_uri()}?mode=ro", True
        try:
            connection = sqlite3.connect(
                place, timeout=_PATIENCE, isolation_level=None, check_same_thread=False, uri=uri
            )
            connection.execute(f"PRAGMA busy_timeout = {int(_PATIENCE * 1000)}")
            if memory or self.writable:
                create(connection, memory)
            refuse_strangers(connection)
        except sqlite3.DatabaseError as error:
            raise UserError(
                f"the notes at {self.path} cannot be opened: {error}; check that the folder may be "
                "written, or move the file away to begin new ones"
            ) from None
        return connection

    def close(self) -> None:
        """Let go of the file; nothing can be asked afterwards."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Notes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Labels and notes

    def label(
        self, feature: int, text: str, author: str = "", scores: dict[str, Any] | None = None,
        **provenance: Any,
    ) -> Entry:  # fmt: skip
        """Give a feature a label.

        Parameters
        ----------
        scores : measured quality, ``{"detection": 0.9}``; `best_labels` goes by their mean.
        provenance : whatever says how it came about, as JSON: ``model="..."``, ``method="..."``.
        """
        data = provenance | ({"scores": scores} if scores else {})
        return self._add("label", feature, text=_filled(text, "label"), author=author, data=data)

    def label_many(self, labels: Iterable[tuple[int, str]], author: str = "", **data: Any) -> int:
        """Give many features labels in one transaction; how many were written."""
        entries = (
            self._entry("label", feature, "", _filled(text, "label"), author, data)
            for feature, text in labels
        )
        return self._write(entries)

    def labels(self, feature: int) -> list[Entry]:
        """The labels of a feature, best first: by score, then the newest."""
        return sorted(self._of("label", feature), key=_rank, reverse=True)

    def best_labels(self, features: Sequence[int]) -> dict[int, str]:
        """The first of `labels` of each feature that has one."""
        found: dict[int, Entry] = {}
        numbers = json.dumps([int(feature) for feature in features])
        for entry in self._entries(
            "kind = 'label' AND feature IN (SELECT value FROM json_each(?))", [numbers]
        ):
            best = found.get(entry.feature or 0)
            if best is None or _rank(entry) > _rank(best):
                found[entry.feature or 0] = entry
        return {feature: entry.text for feature, entry in found.items()}

    def add_note(self, feature: int, text: str, author: str = "") -> Entry:
        """Write a note on a feature."""
        return self._add("note", feature, text=_filled(text, "note"), author=author)

    def notes(self, feature: int) -> list[Entry]:
        """The notes on a feature, oldest first."""
        return self._of("note", feature)

    # Tags, lists, ratings

    def tag(self, feature: int, name: str, author: str = "") -> Entry:
        """Tag a feature; once however often it is said."""
        return self._add("tag", feature, name=_filled(name, "tag"), author=author)

    def untag(self, feature: int, name: str) -> None:
        """Take a tag back; nothing happens where it is not there."""
        self._remove(_named_id("tag", feature, name.strip()))

    def tags(self, feature: int | None = None) -> list[str]:
        """The tags of a feature, or all that are in use; sorted."""
        where = "kind = 'tag'" + ("" if feature is None else " AND feature = ?")
        found = self._entries(where, [] if feature is None else [int(feature)])
        return sorted({entry.name for entry in found})

    def tagged(self, name: str) -> list[int]:
        """Features with a tag, rising."""
        found = self._entries("kind = 'tag' AND name = ?", [name])
        return sorted(entry.feature for entry in found if entry.feature is not None)

    def add_to_list(self, name: str, feature: int, author: str = "") -> Entry:
        """Put a feature on the list called `name`, which begins with its first feature."""
        return self._add("list", feature, name=_filled(name, "list"), author=author)

    def remove_from_list(self, name: str, feature: int) -> None:
        """Take a feature off a list."""
        self._remove(_named_id("list", feature, name.strip()))

    def lists(self, feature: int | None = None) -> dict[str, list[int]]:
        """Name to features in the order they were put there; of one feature, its lists."""
        found: dict[str, list[int]] = {}
        for entry in self._entries("kind = 'list'", []):
            if entry.feature is not None:
                found.setdefault(entry.name, []).append(entry.feature)
        chosen = (n for n in sorted(found) if feature is None or feature in found[n])
        return {name: found[name] for name in chosen}

    def rate(
        self, feature: int, name: str, value: float, author: str = "", text: str = ""
    ) -> Entry:
        """Rate a feature under the name of a scale; an author's later rating replaces the earlier."""
        return self._add(
            "rating", feature, name=_filled(name, "scale"), text=text, author=author,
            data={"value": float(value)},
        )  # fmt: skip

    def ratings(self, feature: int) -> list[Entry]:
        """The ratings of a feature; ``data["value"]`` is the number."""
        return self._of("rating", feature)

    # Views and steering runs

    def save_view(self, name: str, state: dict[str, Any], author: str = "") -> Entry:
        """Keep a state of the pages under a name; a later one of the same name replaces it."""
        return self._add("view", None, name=_filled(name, "view"), author=author, data=state)

    def views(self) -> dict[str, dict[str, Any]]:
        """Name to state."""
        found = self._entries("kind = 'view'", [])
        return {entry.name: entry.data for entry in sorted(found, key=lambda entry: entry.name)}

    def remove_view(self, name: str) -> None:
        """Forget a view."""
        self._remove(_named_id("view", None, name.strip()))

    def save_steering(self, feature: int | None, run: dict[str, Any], author: str = "") -> Entry:
        """Keep a steering run: its settings and texts, as JSON."""
        return self._add("steering", feature, author=author, data=run)

    def steering(self, feature: int | None = None) -> list[Entry]:
        """Steering runs, of one feature or all, oldest first."""
        if feature is None:
            return self._entries("kind = 'steering'", [])
        return self._of("steering", feature)

    # All kinds

    def remove(self, entry: str) -> bool:
        """Take the entry with this id back; whether it was there."""
        return self._remove(entry)

    def search(self, words: str, limit: int = 100) -> list[tuple[int, str, float]]:
        """Labels, notes and tags that hold all of `words`, best first: (feature, text, rank).

        The last word may be the beginning of one. Smaller ranks are better (BM25, as SQLite counts).
        Words that more than 20,000 entries hold are not ranked, which would take a second for a
        million: those written first are given.
        """
        terms = [word.replace('"', '""') for word in words.split()]
        terms = [term for term in terms if any(letter.isalnum() for letter in term)]
        if not terms:
            return []
        query = " ".join(f'"{term}"' for term in terms) + "*"
        found = "SELECT rowid, rank FROM words WHERE words MATCH ?"
        with self._lock:
            many = self._connection.execute(
                "SELECT count(*) FROM (SELECT rowid FROM words WHERE words MATCH ? LIMIT ?)",
                [query, _RANKED + 1],
            ).fetchone()[0]
            order = "" if many > _RANKED else "ORDER BY rank"
            rows = self._connection.execute(
                "SELECT e.feature, CASE WHEN e.text = '' THEN e.name ELSE e.text END, w.rank "
                f"FROM ({found} {order} LIMIT ?) w "
                "JOIN entries e ON e.rowid = w.rowid ORDER BY w.rank, e.rowid",
                [query, int(limit)],
            ).fetchall()
        return [(int(feature), text, float(rank)) for feature, text, rank in rows]

    def counts(self) -> dict[str, int]:
        """How many entries of each kind."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT kind, count(*) FROM entries WHERE removed = 0 GROUP BY kind"
            ).fetchall()
        return dict.fromkeys(KINDS, 0) | dict(rows)

    def take(self, entries: Iterable[Entry]) -> int:
        """Put entries in as they are, in one transaction: ids, authors and times stay."""
        return self._write(entries)

    def merge(self, other: str | Path) -> int:
        """Take in all that another file holds, and what was removed there; how many entries changed.

        Of two versions of an entry the later stays. Order does not matter, and merging again changes
        nothing.
        """
        path = Path(other)
        if not path.is_file():
            raise UserError(f"there are no notes at {path} to merge")
        theirs = Notes(path, writable=False)
        try:
            rows = theirs._connection.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM entries"
            ).fetchall()
        finally:
            theirs.close()
        with self._transaction() as connection:
            return connection.executemany(MERGE, rows).rowcount

    def _of(self, kind: str, feature: int) -> list[Entry]:
        return self._entries("kind = ? AND feature = ?", [kind, int(feature)])

    def _entries(self, where: str, values: Sequence[Any]) -> list[Entry]:
        names = [name for name in _COLUMNS if name != "removed"]
        with self._lock:
            rows = self._connection.execute(
                f"SELECT {', '.join(names)} FROM entries WHERE removed = 0 AND {where} "
                "ORDER BY created, rowid",
                list(values),
            ).fetchall()
        return [
            Entry(**dict(zip(names, [*row[:-1], _object(row[-1])], strict=True))) for row in rows
        ]

    def _add(self, kind: str, feature: int | None, name: str = "", text: str = "",
             author: str = "", data: dict[str, Any] | None = None) -> Entry:  # fmt: skip
        entry = self._entry(kind, feature, name, text, author, data or {})
        self._write([entry])
        return entry

    def _entry(
        self,
        kind: str,
        feature: int | None,
        name: str,
        text: str,
        author: str,
        data: dict[str, Any],
    ) -> Entry:
        if feature is not None and feature < 0:
            raise UserError(f"feature is {feature}; wanted 0 or more")
        if kind not in NAMED:
            key = self.new_id()
        else:
            key = _named_id(kind, feature, name, author if kind == "rating" else None)
        now = time.time()
        number = None if feature is None else int(feature)
        return Entry(key, kind, number, name, text, author, self.archive, now, now, data)

    def _write(self, entries: Iterable[Entry]) -> int:
        with self._transaction() as connection:
            rows = (self._row(connection, entry) for entry in entries)
            return connection.executemany(MERGE, rows).rowcount

    def _row(self, connection: sqlite3.Connection, entry: Entry) -> list[Any]:
        """An entry as it is put in. Said again, it is later than it was, whatever the clocks say."""
        e, created, changed = entry, entry.created, entry.changed
        if e.kind in NAMED:
            was = connection.execute(
                "SELECT created, changed, removed FROM entries WHERE id = ?", [e.id]
            ).fetchone()
            if was:
                created = created if was[2] else was[0]
                changed = max(changed, math.nextafter(was[1], math.inf))
        data = json.dumps(e.data, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return [e.id, e.kind, e.feature, e.name, e.text, e.author, e.archive, created, changed, 0,
                data]  # fmt: skip

    def _remove(self, key: str) -> bool:
        with self._transaction() as connection:
            # Never before what it removes, whatever the clocks of two machines say.
            found = connection.execute(
                "UPDATE entries SET removed = 1, changed = max(changed, ?) "
                "WHERE id = ? AND removed = 0",
                [time.time(), key],
            )
            return found.rowcount > 0

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        if not self.writable:
            raise UserError(f"the notes at {self.path} are open for reading only")
        with self._lock:
            # IMMEDIATE takes the lock at once: two that read first and then write would deadlock.
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")


def _rank(entry: Entry) -> tuple[float, float]:
    scores = entry.data.get("scores")
    values = scores.values() if isinstance(scores, dict) else ()
    numbers = [value for value in values if isinstance(value, int | float)]
    return (sum(numbers) / len(numbers) if numbers else float("-inf"), entry.created)


def _named_id(kind: str, feature: int | None, name: str, author: str | None = None) -> str:
    parts = [kind, None if feature is None else int(feature), name]
    parts += [] if author is None else [author]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


def _filled(text: str, what: str) -> str:
    text = text.strip()
    if not text or len(text) > _LONGEST:
        raise UserError(f"this {what} has {len(text):,} characters; wanted 1 to {_LONGEST:,}")
    return text


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
