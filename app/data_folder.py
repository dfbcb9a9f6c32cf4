"""The folder of the SQLite file: made if need be, and home of the secret key that nobody chose."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from app.config import Settings, SettingsError

_KEY_FILE = "secret.key"


def prepare_data_folder(settings: Settings) -> None:
    """Make the folder of the SQLite file. Raises ``SettingsError`` if that cannot be done."""
    if settings.sqlite_path is None:
        return
    folder = settings.sqlite_path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"DATABASE_URL needs the folder {folder}, which cannot be made ({error.strerror}); "
            "it should name a file in a folder that this user may write to"
        ) from error


def secret_key_of(settings: Settings) -> bytes:
    """The key that was set; with SQLite, otherwise the one in the data folder, which the first call makes.

    Raises ``SettingsError``."""
    if settings.secret_key is not None:
        return settings.secret_key.encode()
    if settings.sqlite_path is None:
        raise SettingsError("LATCHWATCH_SECRET_KEY is not set; it should be 32 random characters or more")
    return _kept_key(settings.sqlite_path.parent / _KEY_FILE)


def _kept_key(file: Path) -> bytes:
    try:
        if not file.exists():
            _write_once(file, secrets.token_hex(32).encode())
        key = file.read_bytes().strip()
    except OSError as error:
        raise SettingsError(
            f"LATCHWATCH_SECRET_KEY is not set and {file} cannot be used ({error.strerror}); "
            "make the file readable for this user, or set the key"
        ) from error
    if len(key) < 32:
        raise SettingsError(f"LATCHWATCH_SECRET_KEY is not set and {file} is not whole; restore it from a backup")
    return key


def _write_once(file: Path, content: bytes) -> None:
    """Write the whole file or nothing, readable by its owner only. Of two processes that start together one wins."""
    descriptor, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, file)
        except FileExistsError:
            return
    finally:
        Path(temporary).unlink()
