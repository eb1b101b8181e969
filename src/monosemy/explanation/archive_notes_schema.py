"""The tables of an archive's notes, as docs/formats/archive.md says."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from monosemy.foundation.errors import UserError

APPLICATION = 0x6D6F6E6F
VERSION = 1
KINDS = ("label", "note", "tag", "list", "view", "steering", "rating")
NAMED = ("tag", "list", "view", "rating")
"""Kinds that are there once for each name."""


@dataclass(frozen=True)
class Entry:
    """One label, note, tag, place in a list, view, steering run or rating.

    Attributes are those of the table `entries` in docs/formats/archive.md.
    """

    id: str
    kind: str
    feature: int | None
    name: str
    text: str
    author: str
    archive: str
    created: float
    changed: float
    data: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)


_TABLES = f"""
CREATE TABLE IF NOT EXISTS entries (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN {KINDS}),
    feature INTEGER CHECK (feature IS NULL OR feature >= 0),
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    author TEXT NOT NULL,
    archive TEXT NOT NULL,
    created REAL NOT NULL,
    changed REAL NOT NULL,
    removed INTEGER NOT NULL CHECK (removed IN (0, 1)),
    data TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_feature ON entries (kind, feature);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    name, text, content='entries', content_rowid='rowid', tokenize='unicode61'
);
CREATE TRIGGER IF NOT EXISTS word_in AFTER INSERT ON entries
WHEN new.kind IN ('label', 'note', 'tag') AND new.removed = 0 BEGIN
    INSERT INTO words (rowid, name, text) VALUES (new.rowid, new.name, new.text);
END;
CREATE TRIGGER IF NOT EXISTS word_out AFTER DELETE ON entries
WHEN old.kind IN ('label', 'note', 'tag') AND old.removed = 0 BEGIN
    INSERT INTO words (words, rowid, name, text) VALUES ('delete', old.rowid, old.name, old.text);
END;
CREATE TRIGGER IF NOT EXISTS word_changes_out BEFORE UPDATE ON entries
WHEN old.kind IN ('label', 'note', 'tag') AND old.removed = 0 BEGIN
    INSERT INTO words (words, rowid, name, text) VALUES ('delete', old.rowid, old.name, old.text);
END;
CREATE TRIGGER IF NOT EXISTS word_changes_in AFTER UPDATE ON entries
WHEN new.kind IN ('label', 'note', 'tag') AND new.removed = 0 BEGIN
    INSERT INTO words (rowid, name, text) VALUES (new.rowid, new.name, new.text);
END;
"""

MERGE = """
INSERT INTO entries
    (id, kind, feature, name, text, author, archive, created, changed, removed, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    kind = excluded.kind, feature = excluded.feature, name = excluded.name, text = excluded.text,
    author = excluded.author, archive = excluded.archive, created = excluded.created,
    changed = excluded.changed, removed = excluded.removed, data = excluded.data
WHERE (excluded.changed, excluded.removed, excluded.text, excluded.data)
    > (entries.changed, entries.removed, entries.text, entries.data)
"""
"""Puts an entry in, or over an earlier version of itself; the same entry again changes nothing."""


def refuse_other(path: Path) -> None:
    """`UserError` where `path` is a file that holds no notes of this version."""
    if not path.exists():
        return
    if not path.is_file():
        raise UserError(f"{path} is not a file; the notes of an archive are one SQLite file")
    with path.open("rb") as file:
        head = file.read(100)
    if not head:  # made and not yet filled by a process that begins at this moment
        return
    if head[:16] != b"SQLite format 3\0" or len(head) < 100:
        raise UserError(f"{path} is not an SQLite database; move it away to begin new notes")
    application = int.from_bytes(head[68:72], "big")
    version = int.from_bytes(head[60:64], "big")
    if application not in (APPLICATION, 0):
        raise UserError(f"{path} is a database of another program; move it away to begin new notes")
    if version not in (VERSION, 0):
        raise UserError(
            f"{path} holds notes of version {version}, wanted {VERSION}; "
            "open them with the monosemy that wrote them"
        )


def create(connection: sqlite3.Connection, memory: bool) -> None:
    """Make the tables where they are not there yet; safe when two processes begin at once."""
    if not memory:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if tables:
                raise sqlite3.DatabaseError("it is a database of another program")
            for statement in _statements(_TABLES):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def refuse_strangers(connection: sqlite3.Connection) -> None:
    """`sqlite3.DatabaseError` where the schema is not exactly ours.

    A file from elsewhere could carry triggers or views that do something else when it is read.
    """
    made = sqlite3.connect(":memory:")
    try:
        create(made, memory=True)
        wanted, found = (
            set(one.execute("SELECT type, name, sql FROM sqlite_master").fetchall())
            for one in (made, connection)
        )
    finally:
        made.close()
    if wanted != found:
        names = sorted({name for _, name, _ in wanted ^ found})
        raise sqlite3.DatabaseError(f"its tables are not those of notes ({', '.join(names[:3])})")


def _statements(script: str) -> list[str]:
    """The statements of a script; `executescript` would end the transaction."""
    found, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            found.append(current.strip())
            current = ""
    return found
