"""What can be looked at on this machine: settings, database, disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping

from app.config import Purpose, Settings, SettingsError, load_settings
from app.doctor.findings import Finding, note, well, wrong
from app.storage.engine import Database, open_database
from app.storage.errors import StorageError
from app.storage.migrate import SchemaState, schema_state

_MIB = 1024 * 1024
_SCARCE_MIB, _LOW_MIB = 400, 2048  # SQLite's log alone takes some 200

_SCHEMA_REMEDIES = {
    SchemaState.EMPTY: "run latchwatch migrate",
    SchemaState.BEHIND: "run latchwatch migrate",
    SchemaState.AHEAD: "a newer Latchwatch has migrated it: start that version, or name another database",
}


def check_settings(environ: Mapping[str, str]) -> tuple[Settings | None, list[Finding]]:
    """The settings as far as they can be used (``None``: not at all), and every problem."""
    try:
        settings = load_settings(environ, Purpose.SERVE)
    except SettingsError as error:
        found = [_problem(problem) for problem in error.problems]
        return _what_can_be_used(environ), found
    notes = [note("settings", warning) for warning in settings.warnings]
    return settings, [well("settings", "complete and of the right form"), *notes]


async def open_for_checks(settings: Settings) -> tuple[Database | None, list[Finding]]:
    """The database, unless it cannot be used. It is neither made nor migrated here."""
    path = settings.sqlite_path
    if path is not None and not path.exists():
        return None, [wrong("database", f"there is no file {path} yet", "start latchwatch serve once, which makes it")]
    try:
        db = open_database(settings.database_url)
    except StorageError as error:
        return None, [_problem(str(error), "database")]
    found = await _check_database(db)
    if found.remedy:
        await db.close()
        return None, [found]
    return db, [found]


def check_disk(settings: Settings) -> Iterator[Finding]:
    """Of a full disk every commit fails: webhooks are then answered 503."""
    if settings.sqlite_path is None:
        return
    folder = settings.sqlite_path.absolute().parent
    free = shutil.disk_usage(folder).free // _MIB
    if free < _SCARCE_MIB:
        yield wrong("disk", f"{free} MiB are free in {folder}", "make room: nothing can be stored on a full disk")
    elif free < _LOW_MIB:
        yield note("disk", f"{free} MiB are free in {folder}", "make room before it is full")
    else:
        yield well("disk", f"{free} MiB are free in {folder}")


async def _check_database(db: Database) -> Finding:
    try:
        await db.probe()
        state = await schema_state(db)
    except StorageError as error:
        return _problem(str(error), "database")
    if state is not SchemaState.CURRENT:
        return wrong("database", f"{db.place}: its schema is {state}", _SCHEMA_REMEDIES[state])
    return well("database", f"{db.place} can be written, and its schema is this version's")


def _what_can_be_used(environ: Mapping[str, str]) -> Settings | None:
    """What is only missing for receiving still allows to look at the rest."""
    try:
        return load_settings(environ, Purpose.DATABASE)
    except SettingsError:
        return None


def _problem(text: str, what: str = "settings") -> Finding:
    problem, _, remedy = text.partition("; ")
    return wrong(what, problem, remedy or "correct it, see docs/settings.md")
