"""The backend with the shortest expected time to a response, by what became of earlier
requests; equals share by weight."""

import json
import math
import struct

from componentize_py_types import Err

# In microseconds: a latency below it counts as that much, as does none yet.
DEFAULT_LATENCY = 20_000
# What a failure counts as.
FAILED = 1_000_000
# One pick of so many looks at a backend by weight alone: who was slow is asked again.
EXPLORE = 32
# Backends remembered; who was heard of longest ago is forgotten first.
MOST = 10_000
CLIENT_LEFT = 5
# A backend's id and its average, as they are handed over.
ENTRY = struct.Struct("<Id")

gain = 0.1
# Moving average of the latency in microseconds, by the backend's id.
averages = {}

# Longest configuration, in characters.
LONGEST = 1_000


class Config:
    def configure(self, text):
        """`config = { gain = 0.2 }`: how much the newest outcome counts, above 0 to 1."""
        global gain
        options = parse(text)
        for key in options:
            if key != "gain":
                raise Err(f"{key}: unknown option")
        wanted = options.get("gain", gain)
        if type(wanted) not in (int, float) or not 0 < wanted <= 1:
            raise Err("gain: a number above 0, at most 1")
        gain = wanted


class Strategy:
    def pick(self, request, backends):
        if request.sequence % EXPLORE == EXPLORE - 1:
            return share(request, backends, range(len(backends)))
        mean_weight = sum(backend.weight for backend in backends) / len(backends)
        costs = [
            max(averages.get(backend.id, 0), DEFAULT_LATENCY)
            * (1 + backend.in_flight * mean_weight / backend.weight)
            for backend in backends
        ]
        least = min(costs)
        tied = [index for index, cost in enumerate(costs) if cost == least]
        return share(request, backends, tied)


class Feedback:
    def observe(self, outcomes):
        for outcome in outcomes:
            if outcome.failure == CLIENT_LEFT:
                continue
            failed = outcome.failure != 0 or outcome.status >= 500
            newest = FAILED if failed else outcome.latency_us
            average = averages.get(outcome.id, newest)
            remember(outcome.id, average + gain * (newest - average))


class State:
    def save(self):
        return b"".join(ENTRY.pack(*entry) for entry in averages.items())

    def restore(self, saved):
        if len(saved) % ENTRY.size or len(saved) > MOST * ENTRY.size:
            raise Err("no state of this strategy")
        entries = dict(ENTRY.iter_unpack(saved))
        if not all(math.isfinite(average) and average >= 0 for average in entries.values()):
            raise Err("no state of this strategy")
        averages.clear()
        averages.update(entries)


def remember(id, average):
    averages.pop(id, None)
    averages[id] = average
    if len(averages) > MOST:
        del averages[next(iter(averages))]


def share(request, backends, members):
    """One of `members`, which are indices, by weight."""
    point = request.random / 2**53 * sum(backends[index].weight for index in members)
    for index in members:
        point -= backends[index].weight
        if point < 0:
            return index
    return members[0]


def parse(text):
    # A parser of deeply nested texts runs out of stack, which no `except` sees.
    if len(text) > LONGEST:
        raise Err(f"longer than {LONGEST} characters")
    try:
        options = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise Err(f"not JSON: {error}")
    if not isinstance(options, dict):
        raise Err("the options are no JSON object")
    return options
