"""Medians, spreads and ratios of turns, and whether they hold the goals."""

import statistics

PEERS = ("nginx", "haproxy")
OTHERS = ("anubis-fallback", "nginx-lua", "haproxy-tcp")


def spread(values):
    """Distance of the extremes, as a share of the median."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def ratio(samples, name, other, figure):
    """The median of the rounds' own ratios, and the least and greatest of them."""
    if name == other or other not in samples or name not in samples:
        return None
    each = [a[figure] / b[figure] for a, b in zip(samples[name], samples[other]) if b[figure]]
    return (statistics.median(each), min(each), max(each)) if each else None


def summary(samples):
    """Of each proxy: the medians of its turns, and the ratios to its peers."""
    result = {}
    for name, turns in samples.items():
        figures = [figure for figure in turns[0] if figure != "failed"]
        row = {figure: statistics.median([turn[figure] for turn in turns]) for figure in figures}
        row["extremes"] = {
            figure: (min(turn[figure] for turn in turns), max(turn[figure] for turn in turns)) for figure in figures
        }
        row["failed"] = sum(turn.get("failed", 0) for turn in turns)
        row["spread"] = {figure: spread([turn[figure] for turn in turns]) for figure in figures}
        row["ratios"] = {
            figure: {other: ratio(samples, name, other, figure) for other in (*PEERS, *OTHERS)}
            for figure in figures
        }
        result[name] = row
    return result


def shown(value):
    return "-" if value is None else f"{value[0]:.2f} ({value[1]:.2f}-{value[2]:.2f})"


# What is printed of a figure: heading, width, and how.
COLUMNS = {
    "cpu_us": ("us CPU each", "{:.2f}"),
    "gb_per_cpu_second": ("GB/CPU s", "{:.2f}"),
    "per_second": ("each/s", "{:.0f}"),
    "core": ("core", "{:.0%}"),
    "p50_us": ("p50 us", "{:.0f}"),
    "p99_us": ("p99 us", "{:.0f}"),
    "rss_mib": ("RSS MiB", "{:.1f}"),
    "kib_per_connection": ("KiB/conn", "{:.1f}"),
    "start_ms": ("start ms", "{:.1f}"),
    "swap_p99_us": ("p99 us, swaps", "{:.0f}"),
    "swap_ms": ("swap ms", "{:.0f}"),
}


def print_table(title, result, compared):
    """A line for each proxy; `compared` is the figure whose ratios are shown."""
    print(f"\n{title}: medians (spread = (max - min) / median)")
    figures = [figure for figure in COLUMNS if figure in next(iter(result.values()))]
    head = "".join(f"{COLUMNS[figure][0]:>14}" for figure in figures)
    print(f"{'':20}{head}{'spread':>8}  {'to nginx':>16}  {'to haproxy':>16} {'failed':>6}")
    for name, row in result.items():
        cells = "".join(f"{COLUMNS[figure][1].format(row[figure]):>14}" for figure in figures)
        ratios = "".join(f"  {shown(row['ratios'][compared][peer]):>16}" for peer in PEERS)
        print(f"{name:20}{cells}{row['spread'][compared]:8.1%}{ratios} {row['failed']:6d}")


def judge(what, value, limit, at_most=True):
    """A line that says whether a goal is held; `value` as of `ratio`."""
    if value is None:
        return None
    held = value[0] <= limit if at_most else value[0] >= limit
    sign = "<=" if at_most else ">="
    return f"  {'held  ' if held else 'MISSED'} {what}: {shown(value)}, goal {sign} {limit}"


def print_goals(result, goals):
    """`goals`: what, figure, whom to compare with (`None`: the figure itself counts),
    limit, whether that is the most."""
    own = result.get("anubis")
    if not own:
        return
    for what, figure, other, limit, at_most in goals:
        if figure == "per_second" and own["core"] < 0.9:
            print(f"  not judged, because the proxy's core was not the limit: {what}")
            continue
        value = own["ratios"][figure].get(other) if other else (own[figure], *own["extremes"][figure])
        line = judge(what, value, limit, at_most)
        if line:
            print(line)


# Scenarios that are held against each other: what, the one, the other, limit.
GROWTH = (
    ("CPU per request, 1,000 backends / 3", "backends-1000", "keep-alive-32", 1.25),
    ("CPU per request, beside many idle connections / without", "idle", "keep-alive-32", 1.5),
)


def print_growth(scenarios):
    """What grows with backends and with connections; medians of different minutes, so the
    extremes are those of all pairs."""
    for what, larger, smaller, limit in GROWTH:
        if larger in scenarios and smaller in scenarios:
            own = [scenarios[name]["summary"].get("anubis") for name in (larger, smaller)]
            if all(own):
                (large, small), figure = own, "cpu_us"
                least, most = large["extremes"][figure], small["extremes"][figure]
                value = (large[figure] / small[figure], least[0] / most[1], least[1] / most[0])
                print(judge(what, value, limit))
