"""A plan for the whole pool, made once a second and when the pool changes: weights by
latency and by what is left of the capacity. Of two drawn by these weights the proxy
takes the less loaded one, by itself: a request costs no call, however many backends
there are."""

import json

from componentize_py_types import Err
from wit_world.imports.types import Routing_TwoChoices

# Weights are whole numbers: so many steps for each that the operator gave.
STEPS = 1_000

default_latency = 20_000

# Longest configuration, in characters.
LONGEST = 1_000


class Config:
    def configure(self, text):
        """`config = { default-latency-ms = 20 }`: a latency below it counts as that
        much, as does none yet; 1 to 60000."""
        global default_latency
        options = parse(text)
        for key in options:
            if key != "default-latency-ms":
                raise Err(f"{key}: unknown option")
        wanted = options.get("default-latency-ms", default_latency / 1_000)
        if type(wanted) not in (int, float) or not 1 <= wanted <= 60_000:
            raise Err("default-latency-ms: a number from 1 to 60000")
        default_latency = wanted * 1_000


class Planner:
    def plan(self, backends):
        return Routing_TwoChoices([weight(backend) for backend in backends])


def weight(backend):
    share = backend.weight * STEPS
    if backend.latency_us > default_latency:
        share *= default_latency / backend.latency_us
    if backend.capacity > 0:
        share *= max(1 - backend.in_flight / backend.capacity, 0)
    # Nobody is given up: a request now and then shows whether it is better.
    return max(round(share), 1)


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
