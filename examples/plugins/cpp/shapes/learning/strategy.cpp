// Learns what each backend's answers take, failures included, and picks the shortest
// expected time; equals take turns by weight, and one request in 50 explores.
#include "anubis.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

enum { SLOTS = 1024, DEFAULT_LATENCY_US = 20000, FAILED_US = 1000000, EXPLORE = 50 };

// Averages by backend id; of two ids that meet in one slot the later one is known.
struct average {
    uint32_t id, latency_us;
};
static std::array<average, SLOTS> known;
static uint32_t percent = 10; // part of a new answer in the average

static const char *configure(const char *text, size_t length) {
    uint32_t number = length ? 0 : 10;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || i == 3) number = 101;
        else if (number <= 100) number = number * 10 + (uint32_t)(text[i] - '0');
        if (number > 100) break;
    }
    if (number < 1 || number > 100)
        return "the configuration is the part of a new answer in the average: 1 to 100 (percent)";
    percent = number;
    return NULL;
}

static uint32_t latency_of(uint32_t id) {
    const average &a = known[id % SLOTS];
    return a.id == id ? std::max<uint32_t>(a.latency_us, DEFAULT_LATENCY_US) : DEFAULT_LATENCY_US;
}

static void observe(const anubis_outcome *outcomes, size_t count) {
    for (const auto &o : std::span{outcomes, count}) {
        if (o.failure == 5) continue; // the client left: that says nothing of the backend
        uint32_t took = o.latency_us;
        if (o.failure || o.status >= 500) took = std::max<uint32_t>(took, FAILED_US);
        average &a = known[o.id % SLOTS];
        uint64_t before = a.id == o.id && a.latency_us ? a.latency_us : took;
        a = {o.id, uint32_t((before * (100 - percent) + uint64_t(took) * percent) / 100)};
    }
}

static int64_t pick(const anubis_request *request, const anubis_backend *backends, size_t count) {
    double mean_weight = 0;
    for (const auto &b : std::span{backends, count}) mean_weight += double(b.weight) / double(count);

    uint64_t random = request->random;
    const bool explore = random % EXPLORE == 0;
    int64_t best = ANUBIS_FALLBACK;
    double least = 0;
    uint64_t tied = 0; // weight of all that are as good as the best
    for (size_t i = 0; i < count; i++) {
        const anubis_backend *b = &backends[i];
        uint32_t weight = b->weight ? b->weight : 1;
        double time = explore ? 0 : latency_of(b->id) * (1 + b->in_flight * mean_weight / weight);
        if (best >= 0 && time > least) continue;
        tied = best >= 0 && time == least ? tied + weight : weight;
        least = time;
        random = random * 6364136223846793005u + 1442695040888963407u; // a draw for each tie
        if ((random >> 33) * tied >> 31 < weight) best = (int64_t)i;
    }
    return best;
}

// What a successor needs: every average that there is.
static anubis_text save(void) {
    static std::array<average, SLOTS> saved;
    size_t count = 0;
    for (const auto &a : known)
        if (a.latency_us) saved[count++] = a;
    return {reinterpret_cast<const char *>(saved.data()), count * sizeof(average)};
}

static const char *restore(const char *saved, size_t length) {
    if (length % sizeof(average) || length > sizeof known) return "not what this strategy saves";
    static std::array<average, SLOTS> read;
    std::memcpy(read.data(), saved, length);
    size_t count = length / sizeof(average);
    for (size_t i = 0; i < count; i++) // in the order of their slots, none twice
        if (!read[i].latency_us || (i && read[i - 1].id % SLOTS >= read[i].id % SLOTS))
            return "not what this strategy saves";
    for (size_t i = 0; i < count; i++) known[read[i].id % SLOTS] = read[i];
    return NULL;
}

ANUBIS_CONFIG(configure)
ANUBIS_STRATEGY(pick)
ANUBIS_FEEDBACK(observe)
ANUBIS_STATE(save, restore)
