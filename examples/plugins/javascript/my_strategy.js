// The backend with the shortest expected time to a response; equals share by weight.

// In microseconds: a latency below it counts as that much, as does none yet.
const DEFAULT_LATENCY = 20_000;

export const strategy = {
  // What is known of the request, and the backends that may be asked now; the answer
  // is an index of that list.
  pick(request, backends) {
    const meanWeight = sum(backends, ({ weight }) => weight) / backends.length;
    const costs = backends.map(
      ({ latencyUs, inFlight, weight }) =>
        Math.max(latencyUs, DEFAULT_LATENCY) * (1 + (inFlight * meanWeight) / weight),
    );
    const least = costs.reduce((a, b) => Math.min(a, b));
    const tied = [...backends.keys()].filter((index) => costs[index] === least);
    let point = (request.random / 2 ** 53) * sum(tied, (index) => backends[index].weight);
    return tied.find((index) => (point -= backends[index].weight) < 0) ?? tied[0];
  },
};

const sum = (list, value) => list.reduce((total, item) => total + value(item), 0);
