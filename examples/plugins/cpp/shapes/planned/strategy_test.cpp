// Native: `make test` needs no WebAssembly.
#include "strategy.cpp"
#include <cassert>
#include <cstdio>

static uint32_t weight_of(anubis_backend backend) {
    anubis_routing routing = plan(&backend, 1);
    assert(routing.kind == ANUBIS_TWO_CHOICES && routing.count == 1);
    return routing.numbers[0];
}

int main(void) {
    // Weights count, and so does the room that is left.
    assert(weight_of(anubis_backend{.weight = 3}) == 300);
    assert(weight_of(anubis_backend{.weight = 3, .capacity = 10, .in_flight = 5}) == 150);
    assert(weight_of(anubis_backend{.weight = 3, .utilization = 7500}) == 75);

    // A full one is asked last, and no number is too large.
    assert(weight_of(anubis_backend{.weight = 9, .capacity = 1, .in_flight = UINT32_MAX}) == 1);
    assert(weight_of(anubis_backend{.weight = UINT32_MAX}) == 6553500);

    // The configuration.
    assert(configure("", 0) == NULL && configure("91", 2) != NULL && configure("x", 1) != NULL);
    assert(configure("50", 2) == NULL && weight_of(anubis_backend{.weight = 3}) == 150);
    puts("all tests passed");
}
