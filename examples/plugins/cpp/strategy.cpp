// The backend with the shortest expected time to a response; equals take turns by weight.
#include "anubis.h"

#include <algorithm>
#include <numeric>
#include <span>

namespace {

// A latency below 20 ms counts as that much, as does none yet.
constexpr uint32_t default_latency_us = 20'000;

int64_t pick(const anubis_request *request, const anubis_backend *data, size_t count) {
    const std::span backends{data, count};
    const double mean_weight =
        std::accumulate(backends.begin(), backends.end(), 0.0,
                        [](double sum, const auto &b) { return sum + b.weight; }) / double(count);

    uint64_t random = request->random;
    int64_t best = ANUBIS_FALLBACK;
    double least = 0;
    uint64_t tied = 0;  // weight of all that are as good as the best
    for (size_t i = 0; const auto &b : backends) {
        const auto weight = std::max(b.weight, 1u);
        const double time = std::max(b.latency_us, default_latency_us) * (1 + b.in_flight * mean_weight / weight);
        if (best < 0 || time <= least) {
            tied = best >= 0 && time == least ? tied + weight : weight;
            least = time;
            random = random * 6364136223846793005u + 1442695040888963407u;  // a draw for each tie
            if ((random >> 33) * tied >> 31 < weight) best = int64_t(i);
        }
        i++;
    }
    return best;
}

}  // namespace

ANUBIS_STRATEGY(pick)
