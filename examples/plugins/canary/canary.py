"""Some requests go to the backends with the new version, all others to the stable ones:
those with a header, and of the others a percentage. Within a group the least loaded
backend is asked; equals share by weight."""

from componentize_py_types import Err
from options import Options
from wit_world.imports import inbound, members

options = Options()


class Config:
    def configure(self, text):
        global options
        try:
            options = Options.parse(text)
        except ValueError as error:
            raise Err(str(error))


class Strategy:
    def pick(self, request, backends):
        # The key keeps a client on its side where the pool has a `hash-key`.
        canary = asks_for_it() or request.key % 10_000 < options.percent * 100
        groups = {True: [], False: []}
        for index, backend in enumerate(backends):
            groups[is_canary(backend)].append(index)
        # Where nobody of the one group can be asked, somebody of the other is.
        return least_loaded(request, backends, groups[canary] or groups[not canary])


def asks_for_it():
    return inbound.header(options.header) == options.value


def is_canary(backend):
    return members.label(backend.id, options.label) == options.label_value


def least_loaded(request, backends, indices):
    loads = {index: backends[index].in_flight / backends[index].weight for index in indices}
    least = min(loads.values())
    tied = [index for index in indices if loads[index] == least]
    point = request.random / 2**53 * sum(backends[index].weight for index in tied)
    for index in tied:
        point -= backends[index].weight
        if point < 0:
            return index
    return tied[0]
