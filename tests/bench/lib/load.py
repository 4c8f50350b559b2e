"""What is sent at a proxy: wrk's load, connections that only wait, frames to and fro."""

import asyncio
import contextlib
import http.client
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time

from .processes import PATIENCE, Failure, on_core, program

# wrk's own figures, exact and in one line.
WRK_REPORT = """\
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests":%d,"microseconds":%d,"failed":%d,"bytes":%d,"p50":%d,"p99":%d}\\n',
    summary.requests, summary.duration, e.connect + e.read + e.write + e.status + e.timeout,
    summary.bytes, latency:percentile(50), latency:percentile(99)))
end
"""

WRK_UPLOAD = """\
wrk.method = "POST"
wrk.body = string.rep("x", %d)
"""


def wrk(folder, port, connections, seconds, core, path="/", headers=(), upload=0):
    """Runs wrk once on its core; what it counted."""
    script = folder / "wrk.lua"
    script.write_text((WRK_UPLOAD % upload if upload else "") + WRK_REPORT)
    command = [program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script)]
    for header in headers:
        command += ["-H", header]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{path}"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=on_core(core),
    )
    found = re.search(r"^RESULT (.+)$", done.stdout, re.MULTILINE)
    if not found:
        raise Failure(f"wrk failed: {done.stdout}{done.stderr}")
    return json.loads(found.group(1))


def at_rate(port, connections, rate, seconds, core):
    """Requests a second, whether or not the ones before are answered, by h2load; each
    connection sends its share evenly. The times of all in microseconds, sorted, and how
    many failed."""
    with tempfile.NamedTemporaryFile(prefix="h2load-") as log:
        each = max(1, round(rate / connections))
        subprocess.run(
            [program("h2load"), "--h1", f"-c{connections}", f"--rps={each}", f"-D{seconds}",
             f"--log-file={log.name}", f"http://127.0.0.1:{port}/"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            preexec_fn=on_core(core),
        )
        # Beginning, status, time: microseconds, in a line a request.
        lines = [line.split() for line in pathlib.Path(log.name).read_text().splitlines()]
    times = sorted(int(line[2]) for line in lines if line[1] == "200")
    return times, len(lines) - len(times)


@contextlib.contextmanager
def idle(port, count):
    """So many connections, each of which was answered once and has waited since, two
    seconds at least."""
    held = []
    try:
        for _ in range(count):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise Failure(f"connection {len(held)} of {count} is answered with {answer.status}")
            held.append(connection)
        time.sleep(2)
        yield
    finally:
        for connection in held:
            connection.close()


# ------------------------------------------------------------------- WebSocket

UPGRADE = (
    "GET /websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
).encode()
ACCEPT = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
).encode()
# A masked text frame of 64 bytes: what comes back is what was sent.
FRAME = b"\x81\xc0" + b"\0\0\0\0" + b"x" * 64


def serve_echo(port):
    """A backend that switches to WebSocket and sends back every byte. Does not end."""

    async def serve(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if b"upgrade" not in head.lower():
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na")
            else:
                writer.write(ACCEPT)
                while piece := await reader.read(65536):
                    writer.write(piece)
        writer.close()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", port)
        await server.serve_forever()

    asyncio.run(main())


def echo(port, connections, seconds, core):
    """Frames to and fro, one at a time on each connection; how many came back."""
    command = [sys.executable, "-c", "from lib import load; load.echo_here()"]
    arguments = [str(port), str(connections), str(seconds)]
    done = subprocess.run(
        [*command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=pathlib.Path(__file__).resolve().parent.parent,
        preexec_fn=on_core(core),
    )
    if done.returncode:
        raise Failure(f"the WebSocket client failed: {done.stderr}")
    return json.loads(done.stdout)


def echo_here():
    port, connections, seconds = (int(argument) for argument in sys.argv[1:])
    times = []

    async def client(until):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer.write(UPGRADE)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise SystemExit(head.decode())
        while (begin := time.monotonic()) < until:
            writer.write(FRAME)
            if await reader.readexactly(len(FRAME)) != FRAME:
                raise SystemExit("a frame came back changed")
            times.append(time.monotonic() - begin)
        writer.close()

    async def main():
        until = time.monotonic() + seconds
        await asyncio.gather(*(client(until) for _ in range(connections)))

    asyncio.run(main())
    times.sort()
    at = lambda share: round(times[int(len(times) * share)] * 1e6)
    print(json.dumps({
        "requests": len(times), "microseconds": seconds * 1_000_000, "failed": 0,
        "bytes": len(times) * len(FRAME), "p50": at(0.50), "p99": at(0.99),
    }))


if __name__ == "__main__":
    serve_echo(int(os.environ["PORT"]))
