"""The console command under a clock that a test moves: ``python clocked.py FILE serve …``.

The file holds by how many seconds the clock is ahead of the true one. Everything that asks for the time sees it; what a
process sleeps stays true.
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import patch

from app import cli
from app.clock import utc_now


def main() -> None:
    file = Path(sys.argv.pop(1))

    def moved() -> datetime:
        return utc_now() + timedelta(seconds=float(file.read_text() or 0))

    with patch.object(cli, "utc_now", moved):
        cli.main(prog_name="latchwatch")


if __name__ == "__main__":
    main()
