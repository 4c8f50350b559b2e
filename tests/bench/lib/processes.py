"""Programs on one core, what they use, and the ports they listen on."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import time

TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 10.0


class Failure(Exception):
    """Ends the run with a message for whoever started it."""


class Process:
    """A program pinned to one core; its accounting covers its children."""

    def __init__(self, name, command, core, folder):
        self.name = name
        self.log = folder / f"{name}.log"
        self.started = time.monotonic()
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                preexec_fn=lambda: os.sched_setaffinity(0, {core}),
            )

    def pids(self):
        """The process and all its descendants."""
        found, queue = [], [self.child.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            with contextlib.suppress(OSError):
                for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                    queue += [int(child) for child in (task / "children").read_text().split()]
        return found

    def cpu_seconds(self):
        """User and system time used so far."""
        ticks = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                # The name in brackets may hold spaces; the rest does not.
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / TICKS

    def rss_kib(self):
        """Resident memory of all of them."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
                total += int(re.search(r"VmRSS:\s+(\d+)", status).group(1))
        return total

    def must_run(self, when):
        if self.child.poll() is not None:
            raise self.failure(f"ended {when}, with code {self.child.returncode}")

    def stop(self):
        """Ends the process, by its own number."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def failure(self, what):
        tail = self.log.read_text(errors="replace")[-2000:]
        return Failure(f"{self.name} {what}; its output ends:\n{tail}")


def program(name):
    # Debian keeps servers where an ordinary user's PATH does not look.
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/local/sbin"
    return shutil.which(name, path=path)


def on_core(core):
    """For `preexec_fn`."""
    return lambda: os.sched_setaffinity(0, {core})


def free_port():
    """A loopback port that the system says is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(process, port):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        process.must_run("before it listened")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 0.2).close()
            return
        time.sleep(0.002)
    raise process.failure(f"does not listen on port {port}")


@contextlib.contextmanager
def thread_on_core(core):
    """Has this thread run on `core`: who asks is load, and not the proxy's to bear."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
