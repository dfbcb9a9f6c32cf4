"""Alembic's entry, used by app/storage/migrate.py alone.

The connection comes from there, inside a transaction and already under the lock that makes replicas queue. The lock
must be held before Alembic is entered: its ``op`` and ``context`` are global to the process.
"""

from __future__ import annotations

from alembic import context

from app.storage.migrate import ALEMBIC_OPTIONS

_given = context.config.attributes
context.configure(connection=_given["connection"], render_item=_given.get("render_item"), **ALEMBIC_OPTIONS)
context.run_migrations()
