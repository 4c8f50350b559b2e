// Native: `make test` needs no WebAssembly.
#include "strategy.cpp"

#include <array>
#include <cassert>
#include <cstdio>
#include <limits>

static int64_t picked(std::span<const anubis_backend> backends, uint64_t random = 0) {
    const anubis_request request{.random = random};
    return pick(&request, backends.data(), backends.size());
}

int main() {
    // The quickest is picked; who is busy takes longer.
    assert(picked(std::array<anubis_backend, 2>{{{.weight = 1, .latency_us = 90'000}, {.weight = 1, .latency_us = 30'000}}}) == 1);
    assert(picked(std::array<anubis_backend, 2>{{{.weight = 1, .in_flight = 3}, {.weight = 1}}}) == 1);

    // Equals take turns by weight.
    const std::array<anubis_backend, 2> equals{{{.weight = 3}, {.weight = 1}}};
    int first = 0;
    for (uint64_t i = 0; i < 4'000; i++) first += picked(equals, i * 0x9e3779b97f4a7c15u >> 11) == 0;
    assert(2'900 < first && first < 3'100);

    // No number is too large.
    constexpr auto most = std::numeric_limits<uint32_t>::max();
    const anubis_backend huge{.weight = most, .in_flight = most, .latency_us = most};
    assert(picked(std::array<anubis_backend, 3>{huge, {}, huge}) == 1);
    std::puts("all tests passed");
}
