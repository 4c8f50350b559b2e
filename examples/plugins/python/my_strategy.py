"""The backend with the shortest expected time to a response; equals share by weight."""

# In microseconds: a latency below it counts as that much, as does none yet.
DEFAULT_LATENCY = 20_000


class Strategy:
    def pick(self, request, backends):
        """What is known of the request, and the backends that may be asked now; the
        answer is an index of that list."""
        mean_weight = sum(backend.weight for backend in backends) / len(backends)
        costs = [
            max(backend.latency_us, DEFAULT_LATENCY)
            * (1 + backend.in_flight * mean_weight / backend.weight)
            for backend in backends
        ]
        least = min(costs)
        tied = [index for index, cost in enumerate(costs) if cost == least]
        point = request.random / 2**53 * sum(backends[index].weight for index in tied)
        for index in tied:
            point -= backends[index].weight
            if point < 0:
                return index
        return tied[0]
