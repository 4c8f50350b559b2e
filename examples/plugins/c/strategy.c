// The backend with the shortest expected time to a response; equals take turns by weight.
#include "anubis.h"

// A latency below 20 ms counts as that much, as does none yet.
static const uint32_t default_latency_us = 20000;

static int64_t pick(const anubis_request *request, const anubis_backend *backends, size_t count) {
    double mean_weight = 0;
    for (size_t i = 0; i < count; i++) mean_weight += (double)backends[i].weight / (double)count;

    uint64_t random = request->random;
    int64_t best = ANUBIS_FALLBACK;
    double least = 0;
    uint64_t tied = 0; // weight of all that are as good as the best
    for (size_t i = 0; i < count; i++) {
        const anubis_backend *b = &backends[i];
        uint32_t weight = b->weight ? b->weight : 1;
        uint32_t latency = b->latency_us > default_latency_us ? b->latency_us : default_latency_us;
        double time = latency * (1 + b->in_flight * mean_weight / weight);
        if (best >= 0 && time > least) continue;
        tied = best >= 0 && time == least ? tied + weight : weight;
        least = time;
        random = random * 6364136223846793005u + 1442695040888963407u; // a draw for each tie
        if ((random >> 33) * tied >> 31 < weight) best = (int64_t)i;
    }
    return best;
}

ANUBIS_STRATEGY(pick)
