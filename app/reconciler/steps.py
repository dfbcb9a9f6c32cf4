"""Deciding on stored codes and saving that, one code or many, without talking to Seam.

A decision that somebody overtook (the revision moved) is dropped and taken again on what is there then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from app.domain.assessment import Policy
from app.domain.codes import Read
from app.reconciler.decisions import NOTHING_SEEN, Decision, Seen, decide
from app.reconciler.waits import Spread, no_spread
from app.storage.audit import record
from app.storage.codes import Case, load_case, load_cases
from app.storage.engine import Database
from app.storage.errors import StorageConflict, StorageUnavailable
from app.storage.steps import closed_by, opened_by, save_step
from app.storage.timeline import READ_ACTION

ACTOR = "latchwatch"
_ATTEMPTS = 20

_log = structlog.get_logger(__name__)
