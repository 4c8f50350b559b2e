// A plan instead of a call for each request: two weighted draws, by the weights and the
// room that each backend has left.
#include "anubis.h"

#include <algorithm>
#include <vector>

enum { FULL = 10000 };
static uint64_t reserve = 0; // room that counts as none, in 1/10000

// The configuration is the reserve in percent, 0 to 90; empty: 0.
static const char *configure(const char *text, size_t length) {
    uint64_t number = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || i == 2)
            return "the configuration is the room to leave, in percent: 0 to 90";
        number = number * 10 + (uint64_t)(text[i] - '0');
    }
    if (number > 90) return "the configuration is the room to leave, in percent: 0 to 90";
    reserve = number * FULL / 100;
    return NULL;
}

// Of FULL: by its capacity and by the load that it reports, whichever leaves less.
static uint64_t room(const anubis_backend &b) {
    uint64_t used = b.capacity ? (uint64_t)b.in_flight * FULL / b.capacity : 0;
    used = std::max<uint64_t>(used, b.utilization) + reserve;
    return used < FULL ? FULL - used : 0;
}

static anubis_routing plan(const anubis_backend *backends, size_t count) {
    static std::vector<uint32_t> weights; // kept while the proxy reads it
    weights.resize(count);
    std::transform(backends, backends + count, weights.begin(), [](const anubis_backend &b) {
        const auto weight = std::min<uint64_t>(b.weight, 65535) * room(b) / 100;
        return uint32_t(std::max<uint64_t>(weight, 1)); // a full one is asked last, and not never
    });
    return {ANUBIS_TWO_CHOICES, weights.data(), count};
}

ANUBIS_CONFIG(configure)
ANUBIS_PLANNER(plan)
