// Native: `make test` needs no WebAssembly.
#include "strategy.c"
#include <assert.h>
#include <stdio.h>

static void the_quickest_is_picked(void) {
    anubis_backend backends[] = {{.weight = 1, .latency_us = 90000}, {.weight = 1, .latency_us = 30000}};
    assert(pick(&(anubis_request){0}, backends, 2) == 1);
}

static void who_is_busy_takes_longer(void) {
    anubis_backend backends[] = {{.weight = 1, .in_flight = 3}, {.weight = 1}};
    assert(pick(&(anubis_request){0}, backends, 2) == 1);
}

static void equals_take_turns_by_weight(void) {
    anubis_backend backends[] = {{.weight = 3}, {.weight = 1}};
    int first = 0;
    for (uint64_t i = 0; i < 4000; i++)
        first += pick(&(anubis_request){.random = i * 0x9e3779b97f4a7c15u >> 11}, backends, 2) == 0;
    assert(2900 < first && first < 3100);
}

static void no_number_is_too_large(void) {
    anubis_backend most = {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX,
                           UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
    anubis_backend backends[] = {most, {0}, most};
    assert(pick(&(anubis_request){.random = UINT64_MAX}, backends, 3) == 1);
}

int main(void) {
    the_quickest_is_picked();
    who_is_busy_takes_longer();
    equals_take_turns_by_weight();
    no_number_is_too_large();
    puts("4 tests passed");
}
