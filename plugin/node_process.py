"""The node as an operating-system process: started apart from ours, recognised again, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from opensearch_splade.errors import NodeError
from opensearch_splade.plugin.node_places import node_user

if TYPE_CHECKING:
    from collections.abc import Sequence


def spawn(command: Sequence[str | Path], env: dict[str, str], log: Path) -> int:
    """Start a process that outlives this one and hears no Ctrl-C; its output goes to ``log``. Returns the pid.

    A shell puts it in the background and ends at once, so that the process is nobody's child and leaves no zombie.
    """
    with log.open("wb") as output:
        shell = subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", '"$0" "$@" </dev/null >&2 & echo $!', *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            env=env,
            cwd="/",
            umask=0o077,
            start_new_session=True,
            check=True,
            **node_user(),
        )
    return int(shell.stdout)


def started_at(pid: int) -> str | None:
    """When the process began, as the system counts it; None when there is no such process (or a zombie only).

    Process and start together are an identity: the system gives pids out again, but not with the same start.
    """
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # proc_pid_stat(5): after the name in brackets, which may hold anything, field 3 is the state, 22 the start.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    listed = subprocess.run(  # noqa: S603
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, start = listed.stdout.strip().partition(" ")
    return None if not start or state.startswith("Z") else start.strip()


def end(pid: int, started: str, patience: float = 60) -> None:
    """Ask the process to end, insist after ``patience`` seconds, and return when it is gone.

    Raises:
        NodeError: It belongs to another user, or does not even heed SIGKILL.
    """
    for kind, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, 15)):
        if started_at(pid) != started:
            return
        try:
            os.kill(pid, kind)
        except ProcessLookupError:
            return
        except PermissionError as error:
            msg = f"process {pid} belongs to another user: stop it as that user"
            raise NodeError(msg) from error
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if started_at(pid) != started:
                return
            time.sleep(0.1)
    msg = f"process {pid} does not end, not even by SIGKILL"
    raise NodeError(msg)
