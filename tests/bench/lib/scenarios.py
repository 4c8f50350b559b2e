"""What is measured: each scenario starts its proxies, lets them take turns, and gives
the turns, the figure that ratios are shown of, and the goals."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import pathlib

from . import load, proxies
from .processes import PATIENCE, Failure, Process, free_port, thread_on_core, wait_for_port

HTTP_PROXIES = ("nginx", "haproxy", "anubis")
SHIPPED = pathlib.Path(__file__).resolve().parents[3] / "plugins"
MIB = 1 << 20


@dataclasses.dataclass
class Stage:
    """Backends, and the proxies in front of them, in a folder of their own."""

    folder: pathlib.Path
    options: object
    backends: dict
    running: dict


@contextlib.contextmanager
def stage(names, options, backends=3, contenders=proxies.PROXIES):
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-")))
        # nginx's worker may be another user.
        folder.chmod(0o755)
        addresses = addresses_of(backends)
        command = proxies.backends_command(folder, addresses)
        backend = Process("backends", command, options.load_core, folder)
        stack.callback(backend.stop)
        wait_for_port(backend, int(addresses["a"].split(":")[1]))
        running = {}
        for name in wanted(names, options):
            port = free_port()
            process = Process(name, contenders[name](folder, port, addresses, options), options.proxy_core, folder)
            stack.callback(process.stop)
            wait_for_port(process, port)
            running[name] = (process, port)
        yield Stage(folder, options, addresses, running)


def wanted(names, options):
    """Those of these proxies that are asked for; what is no peer always is."""
    return [name for name in names if name in options.proxies or name not in proxies.PROXIES]


def addresses_of(count):
    """Names and addresses of so many backends: three ports, or as many addresses of
    this machine with one port."""
    if count == 3:
        return {name: f"127.0.0.1:{free_port()}" for name in "abc"}
    port = free_port()
    hosts = ["127.0.0.1"] + [f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(count - 1)]
    names = ["a"] + [f"b{number}" for number in range(count - 1)]
    return {name: f"{host}:{port}" for name, host in zip(names, hosts)}


def check_answers(scene):
    """Of every proxy every answer is 200, and of three backends each gives some."""
    for process, port in scene.running.values():
        wanted = set(scene.backends) if len(scene.backends) == 3 else {"a"}
        seen, deadline = collections.Counter(), time.monotonic() + PATIENCE
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            while not wanted <= set(seen):
                for bodies in threads.map(lambda _: some_answers(process, port), range(8)):
                    seen.update(bodies)
                if time.monotonic() > deadline:
                    raise process.failure(f"does not reach every backend; answers: {dict(seen)}")


def some_answers(process, port):
    # A connection each time: a proxy that balances connections, not requests, has to
    # show all backends as well.
    return [body_of(process, port) for _ in range(10)]


def take_turns(title, scene, once, rounds=None):
    """`once(name, process, port, seconds)` gives a turn's figures; one that is not
    measured comes first."""
    options, samples = scene.options, {name: [] for name in scene.running}
    for name, (process, port) in scene.running.items():
        once(name, process, port, options.warm_up)
    for number in range(rounds or options.rounds):
        for name, (process, port) in scene.running.items():
            turn = once(name, process, port, options.seconds)
            process.must_run("under load")
            samples[name].append(turn)
            figures = ", ".join(f"{figure} {value:.4g}" for figure, value in turn.items())
            print(f"  {title}, round {number + 1}, {name}: {figures}", file=sys.stderr)
    return samples


def metered(process, send):
    """What `send` did, and what it cost the proxy."""
    before, start = process.cpu_seconds(), time.monotonic()
    sent = send()
    cpu, elapsed = process.cpu_seconds() - before, time.monotonic() - start
    turn = {
        "cpu_us": cpu * 1e6 / max(sent["requests"], 1),
        "per_second": sent["requests"] * 1e6 / sent["microseconds"],
        "core": cpu / elapsed,
        "p50_us": sent["p50"],
        "p99_us": sent["p99"],
        "rss_mib": process.rss_kib() / 1024,
        "failed": sent["failed"],
    }
    return turn, cpu, sent


def small(title, names, connections, goals=(), backends=3, **how):
    """Small answers; `how` is passed to wrk."""

    def run(options):
        with stage(names or list(proxies.PROXIES), options, backends) as scene:
            check_answers(scene)

            def once(_name, process, port, seconds):
                send = lambda: load.wrk(scene.folder, port, connections, seconds, options.load_core, **how)
                return metered(process, send)[0]

            samples = take_turns(title, scene, once)
            check_answers(scene)
            return samples, "cpu_us", goals

    return run


def large(title, connections, count, upload=False):
    """Bodies of `count` bytes, one way or the other: bytes per CPU second."""

    def run(options):
        with stage(HTTP_PROXIES, options) as scene:
            (scene.folder / "body").mkdir(mode=0o755)
            with (scene.folder / "body" / "file").open("wb") as file:
                file.truncate(0 if upload else count)
            path = "/upload" if upload else "/body/file"

            def once(_name, process, port, seconds):
                send = lambda: load.wrk(
                    scene.folder, port, connections, max(seconds, count >> 28), options.load_core,
                    path=path, upload=count if upload else 0,
                )
                turn, cpu, sent = metered(process, send)
                moved = sent["requests"] * count if upload else sent["bytes"]
                return turn | {"gb_per_cpu_second": moved / 1e9 / cpu if cpu else 0.0}

            goal = (f"GB per CPU second, {title}, anubis / nginx", "gb_per_cpu_second", "nginx", 0.9, False)
            return take_turns(title, scene, once), "gb_per_cpu_second", [goal]

    return run


def growth(title, names, count):
    return small(title, names, 32, backends=count)


def idle(options):
    """A small load beside many connections that only wait."""
    count, names = options.idle, ("nginx", "haproxy", "anubis")
    with stage(names, options) as scene:
        before = {}

        def once(name, process, port, seconds):
            before.setdefault(name, process.rss_kib())
            with load.idle(port, count):
                held = process.rss_kib()
                send = lambda: load.wrk(scene.folder, port, 32, seconds, options.load_core)
                turn, *_ = metered(process, send)
            return turn | {"kib_per_connection": (held - before[name]) / count}

        samples = take_turns(f"{count} idle connections", scene, once)
        return samples, "cpu_us", [("KiB for each idle connection", "kib_per_connection", None, 6, True)]


def websocket(options):
    """Frames of 64 bytes to and fro over 32 connections; a message is one both ways."""
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-")))
        backend_port = free_port()
        command = [sys.executable, "-m", "lib.load"]
        here = pathlib.Path(__file__).resolve().parent.parent
        environment = os.environ | {"PORT": str(backend_port)}
        backend = subprocess.Popen(command, cwd=here, env=environment)
        stack.callback(backend.wait)
        stack.callback(backend.terminate)
        addresses = {"a": f"127.0.0.1:{backend_port}"}
        running = {}
        for name in wanted(HTTP_PROXIES, options):
            port = free_port()
            command = proxies.PROXIES[name](folder, port, addresses, options)
            process = Process(name, command, options.proxy_core, folder)
            stack.callback(process.stop)
            wait_for_port(process, port)
            running[name] = (process, port)
        scene = Stage(folder, options, addresses, running)

        def once(_name, process, port, seconds):
            return metered(process, lambda: load.echo(port, 32, seconds, options.load_core))[0]

        return take_turns("WebSocket", scene, once), "cpu_us", []


def strategies(options):
    """Every shipped strategy against the native fallback; the fallback stands where the
    others have a peer."""
    names = sorted(folder.name for folder in SHIPPED.iterdir() if (folder / "plugin.toml").exists())
    contenders = {name: proxies.anubis(name, name) for name in names}
    contenders["anubis-fallback"] = proxies.anubis("anubis-fallback", "fallback")
    with stage(list(contenders), options, contenders=contenders) as scene:

        def once(_name, process, port, seconds):
            return metered(process, lambda: load.wrk(scene.folder, port, 32, seconds, options.load_core))[0]

        return take_turns("strategies", scene, once), "cpu_us", []


def swaps(options):
    """A swap a second under load: nothing fails, and p99 is that of a quiet second."""
    with stage(["anubis"], options) as scene:
        path = scene.folder / "anubis.toml"
        process, port = scene.running["anubis"]

        def swap_each_second(over):
            turn = 0
            while not over.wait(1.0):
                turn += 1
                strategy = ("least-connections", "least-time")[turn % 2]
                aside = path.with_suffix(".new")
                aside.write_text(proxies.anubis_text(strategy, port, scene.backends))
                aside.rename(path)

        def once(_name, process, port, seconds):
            send = lambda: load.wrk(scene.folder, port, 32, seconds, options.load_core)
            turn, *_ = metered(process, send)
            over = threading.Event()
            swapper = threading.Thread(target=swap_each_second, args=(over,))
            swapper.start()
            swapped = send()
            over.set()
            swapper.join()
            turn["failed"] += swapped["failed"]
            return turn | {
                "swap_p99_us": swapped["p99"],
                "swap_p99_ratio": swapped["p99"] / turn["p99_us"],
                "swap_ms": swap_time(options),
            }

        samples = take_turns("swap", scene, once)
        log = process.log.read_text(errors="replace")
        if log.count("reloaded") < options.rounds:
            raise process.failure("was not swapped")
        goals = [
            ("p99 with a swap each second / without", "swap_p99_ratio", None, 1.3, True),
            ("ms from the file's change to the first pick", "swap_ms", None, 150, True),
        ]
        return samples, "swap_p99_us", goals


def swap_time(options):
    """Milliseconds from when a component of 20 KB that was never seen before is in its
    place to the first answer that only it can have caused."""
    with stage([], options) as scene:
        plugin, port = scene.folder / "swapped.wasm", free_port()
        shipped = SHIPPED / "components"
        shutil.copy(shipped / "first-fit.wasm", plugin)
        path = scene.folder / "swapped.toml"
        path.write_text(proxies.anubis_text(str(plugin), port, scene.backends))
        process = Process("swapped", [str(options.anubis), "run", str(path)], options.proxy_core, scene.folder)
        try:
            wait_for_port(process, port)
            first = body_of(process, port)
            aside = plugin.with_suffix(".new")
            aside.write_bytes(unique((shipped / "round-robin.wasm").read_bytes()))
            with thread_on_core(options.load_core):
                begun = time.monotonic()
                aside.rename(plugin)
                # The one before always picks the first backend.
                while body_of(process, port) == first:
                    if time.monotonic() - begun > PATIENCE:
                        raise process.failure("was not swapped")
                return (time.monotonic() - begun) * 1e3
        finally:
            process.stop()


def unique(component):
    """The same component with a section that nobody reads, and so with another hash."""
    name = b"compared"
    content = bytes([len(name)]) + name + os.urandom(16)
    return component + bytes([0, len(content)]) + content


def latency(options):
    """Half of what nginx can take, sent evenly: what each proxy adds."""
    names = ("nginx", "haproxy", "anubis")
    with stage(names, options) as scene:
        if "nginx" not in scene.running:
            raise Failure("latency is measured at half of what nginx takes: --proxies with nginx")
        _, port = scene.running["nginx"]
        most = load.wrk(scene.folder, port, 32, options.seconds, options.load_core)
        rate = most["requests"] * 1e6 / most["microseconds"] / 2

        def once(_name, process, port, seconds):
            before, start = process.cpu_seconds(), time.monotonic()
            times, failed = load.at_rate(port, 32, rate, seconds, options.load_core)
            cpu, elapsed = process.cpu_seconds() - before, time.monotonic() - start
            if not times:
                raise process.failure("gave no answer at half of nginx's rate")
            return {
                "cpu_us": cpu * 1e6 / len(times),
                "per_second": len(times) / seconds,
                "core": cpu / elapsed,
                "p50_us": times[len(times) // 2],
                "p99_us": times[len(times) * 99 // 100],
                "failed": failed,
            }

        samples = take_turns("latency", scene, once)
        goal = ("p99 at half of nginx's saturation, anubis / nginx", "p99_us", "nginx", 1.0, True)
        return samples, "p99_us", [goal]


def start(options):
    """From the start of the program to the first byte served, and its memory then."""
    samples = {name: [] for name in wanted(HTTP_PROXIES, options)}
    for _ in range(options.rounds):
        with stage([], options) as scene:
            for name, turns in samples.items():
                port = free_port()
                command = proxies.PROXIES[name](scene.folder, port, scene.backends, options)
                process = Process(name, command, options.proxy_core, scene.folder)
                try:
                    wait_for_port(process, port)
                    body_of(process, port)
                    took = time.monotonic() - process.started
                    time.sleep(0.5)
                    turns.append({"start_ms": took * 1e3, "rss_mib": process.rss_kib() / 1024, "failed": 0})
                finally:
                    process.stop()
    return samples, "start_ms", [("MiB after the first answer", "rss_mib", None, 25, True)]


def body_of(process, port):
    """One answer, over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("GET", "/")
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    if answer.status != 200:
        raise process.failure(f"answers {answer.status}")
    return body


def keep_alive_goals(connections):
    at = f"at {connections} connections"
    return [
        (f"CPU per request {at}, anubis / nginx", "cpu_us", "nginx", 0.95, True),
        (f"CPU per request {at}, anubis / haproxy", "cpu_us", "haproxy", 0.90, True),
        (f"CPU per request {at}, component / native fallback", "cpu_us", "anubis-fallback", 1.03, True),
        (f"CPU per request {at}, anubis / nginx with Lua", "cpu_us", "nginx-lua", 0.70, True),
        (f"CPU per request {at}, anubis / haproxy tcp", "cpu_us", "haproxy-tcp", 1.10, True),
        (f"requests per second {at}, anubis / nginx", "per_second", "nginx", 1.05, False),
        (f"requests per second {at}, anubis / haproxy", "per_second", "haproxy", 1.10, False),
    ]


SCENARIOS = {
    "keep-alive-32": ("small GET, 32 connections", small("keep-alive", None, 32, keep_alive_goals(32))),
    "keep-alive-256": ("small GET, 256 connections", small("keep-alive", None, 256, keep_alive_goals(256))),
    "new-connection": (
        "small GET, a new connection for each",
        small("new connection", HTTP_PROXIES, 32, headers=("Connection: close",)),
    ),
    "body-64k": ("responses of 64 KiB", large("responses of 64 KiB", 32, 64 << 10)),
    "body-1m": ("responses of 1 MiB", large("responses of 1 MiB", 16, MIB)),
    "body-1g": ("responses of 1 GiB", large("responses of 1 GiB", 2, 1 << 30)),
    "upload-1m": ("uploads of 1 MiB", large("uploads of 1 MiB", 16, MIB, upload=True)),
    "backends-100": ("100 backends", growth("100 backends", HTTP_PROXIES, 100)),
    "backends-1000": ("1,000 backends", growth("1,000 backends", HTTP_PROXIES, 1000)),
    "idle": ("many idle connections", idle),
    "websocket": ("WebSocket echo", websocket),
    "strategies": ("every shipped strategy", strategies),
    "swap": ("a swap every second", swaps),
    "latency": ("latency at half of nginx's saturation", latency),
    "start": ("start-up", start),
}
