"""The console command as a process of its own, with an environment that holds what the test says and nothing else."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sysconfig
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

COMMAND = Path(sysconfig.get_path("scripts")) / "latchwatch"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PATIENCE_SECONDS = 60.0
# Coverage follows into the process by these.
_PASSED_ON = ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG", "PATH", "LANG", "TMPDIR")


def environment(**settings: str) -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | settings


def latchwatch(*arguments: str, folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env=environment(**settings),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


class Process:
    """A command under way; ``lines`` is what it said so far, on both outputs."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen
        self._arriving: queue.Queue[str | None] = queue.Queue()
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, text: str) -> str:
        return self.wait_for_match(re.escape(text))

    def wait_for_match(self, pattern: str) -> str:
        """The first line, new or old, that holds ``pattern``. Fails if the process ends, or after a minute, without."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        seen = 0
        while True:
            for line in self.lines[seen:]:
                if re.search(pattern, line):
                    return line
            seen = len(self.lines)
            try:
                ended = self._next(max(deadline - time.monotonic(), 0.001)) is None
            except queue.Empty:
                ended = True
            if ended:
                raise AssertionError(f"{pattern!r} was never said:\n{''.join(self.lines)}")

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and wait for its exit code."""
        self._popen.send_signal(with_signal)
        return self.wait()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def signal(self, which: signal.Signals) -> None:
        self._popen.send_signal(which)

    def wait(self) -> int:
        code = self._popen.wait(PATIENCE_SECONDS)
        while self._next(PATIENCE_SECONDS) is not None:
            pass
        return code

    def _next(self, timeout: float) -> str | None:
        line = self._arriving.get(timeout=timeout)
        if line is None:
            self._arriving.put(None)  # whoever asks next is told as well
        else:
            self.lines.append(line)
        return line

    def _read(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            self._arriving.put(line)
        self._arriving.put(None)

    def close(self) -> None:
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()
        self._reader.join()
        assert self._popen.stdout is not None
        self._popen.stdout.close()


@contextmanager
def started(
    *arguments: str, folder: Path, command: Sequence[str | Path] = (COMMAND,), **settings: str
) -> Iterator[Process]:
    """The command under way; killed at the end if it still runs."""
    process = Process(
        subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env=environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    )
    try:
        yield process
    finally:
        process.close()


@contextmanager
def taken_port() -> Iterator[int]:
    """A port of the loopback address that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def get(url: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=10, trust_env=False)
