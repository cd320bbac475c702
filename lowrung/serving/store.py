"""What people say of answers, kept so that nothing that was acknowledged is ever lost: SQLite by default, PostgreSQL
by its address."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from lowrung.core.errors import DataError, LowrungError
from lowrung.core.task import Row, Task
from lowrung.data.files import LISTED, MEDIA
from lowrung.run.silver import gold_column, gold_value

SHAPE = 1  # of the tables; another number is another program's
MOST = 1000  # corrections told at once
PAGE = 100
EVER = 36_500  # days
PATIENCE = 10.0  # seconds that one waits for others who write or, where bytes are erased, read
TURN = 0x6C6F7772756E67  # of the lock that writers of PostgreSQL take; nobody else's number


@dataclass(frozen=True, slots=True)
class Correction:
    """One.

    Args:
        key: by which a repeated one is known; the caller's.
        model, version: what answered, and which of its versions. task: its task.
        row: the question as a row. answer: what the model said, as JSON; None where it was not asked.
        correction: the columns of the row that hold the right answer.
        who: whose correction it is. source: where it came from, like "page", "api" or a file's name.
        at: when, in UTC. number: in the order in which they came, 0 before it is stored.
    """

    key: str
    model: str
    task: str
    row: Mapping[str, Any]
    correction: Mapping[str, Any]
    version: str = ""
    answer: Any = None
    who: str = ""
    source: str = "api"
    at: str = ""
    number: int = 0

    def home_row(self) -> dict[str, Any]:
        """The row with its right answer, as `study`, `fit` and `refit` read it; no longer as a model labelled it."""
        row = {name: value for name, value in self.row.items() if name not in RESERVED}
        return {**row, **self.correction, "id": self.row.get("id", f"correction-{self.number}"), "at": self.at}


class Conflict(DataError):
    """The key stands for another correction already."""


class Lingering(LowrungError):
    """What was erased cannot be read from the table any more, but its bytes are on the disk until others let go."""


class Store:
    """Corrections in a database.

    Each is committed, and of SQLite flushed to the disk, before `add` returns. Several processes may share a store.

    Args:
        url: sqlite:///file.db, or any other address that SQLAlchemy reads, such as postgresql+psycopg://host/name.

    Raises:
        LowrungError: SQLAlchemy or a driver is not installed, the address is none, or the database cannot be opened or
            is of another program.
    """

    def __init__(self, url: str) -> None:
        try:
            import sqlalchemy as sql
            from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
        except ImportError as problem:
            raise LowrungError("corrections need the serve extra: pip install 'lowrung[serve]'") from problem
        self._sql = sql
        shape = "a store is sqlite:///file.db or postgresql+psycopg://user@host/name"
        try:
            self.engine = sql.create_engine(url, pool_pre_ping=True)
        except (ArgumentError, NoSuchModuleError) as problem:
            raise LowrungError(f"{shape}: {problem}") from None
        except ImportError as problem:
            needed = "'psycopg[binary]'" if problem.name == "psycopg" else problem.name
            raise LowrungError(f"{url.partition(':')[0]}: its driver is missing: pip install {needed}") from None
        if self.engine.dialect.name == "sqlite":
            sql.event.listen(self.engine, "connect", _durable)
        tables = sql.MetaData()
        long = sql.BigInteger().with_variant(sql.Integer, "sqlite")
        self.table = sql.Table(
            "lowrung_corrections",
            tables,
            sql.Column("number", long, primary_key=True, autoincrement=True),
            sql.Column("key", sql.String(200), nullable=False, unique=True),
            *(sql.Column(name, sql.String(200), nullable=False, index=name != "version") for name in INDEXED),
            *(sql.Column(name, sql.Text, nullable=False) for name in AS_JSON),
            sqlite_autoincrement=True,  # a number that was erased is not given again
        )
        facts = sql.Table("lowrung_store", tables, sql.Column("shape", sql.Integer, primary_key=True))
        try:
            with self.engine.begin() as connection:
                self._in_turn(connection)
                tables.create_all(connection)
                shapes = list(connection.scalars(sql.select(facts.c.shape)))
                if not shapes:
                    connection.execute(sql.insert(facts).values(shape=SHAPE))
        except SQLAlchemyError as problem:
            said = str(getattr(problem, "orig", None) or problem).splitlines()[0]
            raise LowrungError(f"{self.engine.url.render_as_string()}: cannot be opened as a store ({said})") from None
        if shapes not in ([], [SHAPE]):
            raise LowrungError(f"{self.engine.url.render_as_string()}: was written by another version of lowrung")

    def add(self, given: Correction) -> tuple[Correction, bool]:
        """Keep it; as it is stored, and whether it is new. The same one again is the stored one.

        Raises:
            Conflict: its key stands for something else.
            DataError: the key is empty or too long, or nothing is corrected.
        """
        sql = self._sql
        if not given.key or len(given.key) > 200:
            raise DataError(f"'key' holds 1 to 200 letters, not {len(given.key)}")
        if not given.correction:
            raise DataError("'correction' holds the right answer, and it is empty")
        at = given.at or datetime.now(UTC).isoformat(timespec="milliseconds")
        values = {name: str(getattr(given, name))[:200] for name in INDEXED} | {"key": given.key, "at": at}
        values |= {name: _json(getattr(given, name)) for name in AS_JSON}
        with self.engine.begin() as connection:
            there = self._of_key(connection, given.key)
            if there is None:
                self._in_turn(connection)
                try:
                    with connection.begin_nested():
                        connection.execute(sql.insert(self.table).values(**values))
                    new = True
                except sql.exc.IntegrityError:  # somebody was faster
                    new = False
                there = self._of_key(connection, given.key)
            else:
                new = False
        assert there is not None
        same = (getattr(there, name) == values[name] for name in ("model", "task"))
        held = (_json(getattr(there, name)) == values[name] for name in ("row", "correction"))
        if not new and not (all(same) and all(held)):
            raise Conflict(f"key {given.key!r} stands for another correction, number {there.number}")
        return there, new

    def _in_turn(self, connection: Any) -> None:
        """Wait until nobody else writes, as SQLite does by itself: a correction whose number is lower than one that
        was read already would never be read by who asks for what came after that one."""
        if self.engine.dialect.name == "postgresql":
            connection.execute(self._sql.text(f"SELECT pg_advisory_xact_lock({TURN})"))

    def _of_key(self, connection: Any, key: str) -> Correction | None:
        found = connection.execute(self._sql.select(self.table).where(self.table.c.key == key)).mappings().first()
        return _correction(dict(found)) if found else None

    def page(
        self, *, limit: int = PAGE, after: int = 0, model: str = "", task: str = "", newest: bool = False
    ) -> list[Correction]:
        """Corrections in the order in which they came, from the one after number `after` on, at most `limit`.

        Args:
            newest: the last ones, the newest first.
        """
        table = self.table
        asked = self._sql.select(table).where(table.c.number > after).limit(min(limit, MOST))
        asked = asked.order_by(table.c.number.desc() if newest else table.c.number)
        for name, value in (("model", model), ("task", task)):
            asked = asked.where(table.c[name] == value) if value else asked
        with self.engine.connect() as connection:
            return [_correction(dict(row)) for row in connection.execute(asked).mappings()]

    def all(self, *, after: int = 0, model: str = "", task: str = "") -> Iterator[Correction]:
        """Every correction, some at a time."""
        while some := self.page(limit=MOST, after=after, model=model, task=task):
            yield from some
            after = some[-1].number

    def count(self, *, after: int = 0, model: str = "") -> int:
        table, sql = self.table, self._sql
        asked = sql.select(sql.func.count()).select_from(table).where(table.c.number > after)
        asked = asked.where(table.c.model == model) if model else asked
        with self.engine.connect() as connection:
            return int(connection.scalar(asked) or 0)

    def erase(self, who: str, *, model: str = "") -> int:
        """Remove all corrections of a person, or those for one model; how many there were.

        Raises:
            Lingering: they are gone from the table, but not from the log on the disk yet.
        """
        if not who:
            raise DataError("whose corrections are to be erased? the name is empty")
        return self._removed(self.table.c.who == who, model)

    def keep(self, days: float, *, model: str = "") -> int:
        """Remove those that are older than `days`, of all models or of one; how many there were.

        Raises:
            Lingering: they are gone from the table, but not from the log on the disk yet.
        """
        if not 0 < days <= EVER:
            raise DataError(f"corrections are kept for a number of days above 0, {EVER:,} at most, not {days:g}")
        since = datetime.now(UTC) - timedelta(days=days)
        return self._removed(self.table.c.at < since.isoformat(timespec="milliseconds"), model)

    def _removed(self, where: Any, model: str) -> int:
        table = self.table
        asked = self._sql.delete(table).where(where)
        with self.engine.begin() as connection:
            removed = int(connection.execute(asked.where(table.c.model == model) if model else asked).rowcount)
        if self.engine.dialect.name == "sqlite":  # what was erased leaves the file and its log as well
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM")
                busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
            if busy:
                told = "somebody reads the store, and its log holds them until that ends; erase once more then"
                raise Lingering(f"{removed:,} corrections erased, but {told}")
        return removed

    def close(self) -> None:
        self.engine.dispose()


RESERVED = ("id", "silver", "confidence", "model", "at")  # columns that say something else of a row
INDEXED = ("model", "version", "task", "who", "source", "at")
AS_JSON = ("row", "answer", "correction")


def _durable(connection: Any, _: Any) -> None:
    """A commit is on the disk before it is acknowledged, and readers do not wait for writers."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute(f"PRAGMA busy_timeout={round(1000 * PATIENCE)}")
    connection.execute("PRAGMA secure_delete=ON")


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, sort_keys=True)


def _correction(row: Mapping[str, Any]) -> Correction:
    held = {name: json.loads(row[name]) for name in AS_JSON}
    return Correction(**{**row, **held})


def gold_columns(task: Task[Any], row: Row, correction: Any) -> dict[str, Any]:
    """The columns that hold the right answer: `correction` itself where it is of columns, else put into its column.

    Raises:
        DataError: the task does not read a right answer out of it.
    """
    column = gold_column(task)
    columns = dict(correction) if isinstance(correction, Mapping) else {column: gold_value(task, row, correction)}
    asked = sorted(set(columns) & {*task.columns, *RESERVED, *MEDIA, LISTED})
    if asked:
        raise DataError(f"'correction' holds the right answer, in {column!r}, and not {asked[0]!r}")
    try:
        found = task.example({**row, **columns})
    except ValueError as problem:
        raise DataError(f"'correction': {problem}") from problem
    if not found.golds:
        raise DataError(f"'correction' holds no right answer for {task.name}: {{{column!r}: …}}")
    return columns


def rows_of(corrections: Sequence[Correction] | Iterator[Correction]) -> Iterator[dict[str, Any]]:
    """Home rows; of several corrections of one row for one model the newest."""
    newest = {(each.model, each.task, _json(each.row)): each for each in corrections}
    return (each.home_row() for each in newest.values())
