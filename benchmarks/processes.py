"""Servers as processes of their own: started, asked whether they answer, measured from outside, stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PATIENCE_SECONDS = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
_MIB = 1024


@dataclass
class Server:
    """``started_in``: seconds from the start of the process to its first answer."""

    port: int
    pid: int
    started_in: float = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """Of the process and its children."""
        return cpu_of_family(self.pid)

    def peak_mib(self) -> float:
        """The largest resident sets so far, of the process and its children together."""
        return sum(map(_peak_kib, [self.pid, *_children(self.pid)])) / _MIB


@contextmanager
def serving(
    command: Sequence[str], port: int, folder: Path, log: Path, settings: Mapping[str, str]
) -> Iterator[Server]:
    """The command under way, from its first answer on. ``settings`` is all of its environment but the PATH."""
    began = time.monotonic()
    with running(command, folder, log, settings) as process:
        server = Server(port, process.pid)
        _wait_until_it_answers(process, port, log)
        server.started_in = time.monotonic() - began
        yield server


@contextmanager
def running(
    command: Sequence[str], folder: Path, log: Path, settings: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """The same for a command that answers nobody."""
    environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **settings}
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    try:
        yield process
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended by itself; see {log}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def cpu_of_family(pid: int) -> float:
    """CPU seconds of a process, its children that run, and those that ended."""
    return own_cpu(pid, with_ended=True) + sum(map(own_cpu, _children(pid)))


def _children(pid: int) -> list[int]:
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def _peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def own_cpu(pid: int, *, with_ended: bool = False) -> float:
    """CPU seconds of one process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # ended meanwhile: its parent has counted it
        return 0.0
    return sum(map(int, fields[11 : 15 if with_ended else 13])) / _TICKS


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"it ended instead of answering; see {log}")
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                if connection.recv(12):
                    return
        except OSError:
            pass
        time.sleep(0.005)
    raise RuntimeError(f"no answer on port {port}; see {log}")
