// Native: `make test` needs no WebAssembly.
#include "strategy.cpp"
#include <cassert>
#include <cstdio>
#include <cstring>

static void learn(const anubis_outcome &outcome) { observe(&outcome, 1); }

static const anubis_request ordinary = {.random = 1};
static const anubis_backend two[] = {{.id = 1, .weight = 1}, {.id = 2, .weight = 1}};

static void who_was_slow_or_failed_is_avoided(void) {
    known = {};
    learn({.id = 1, .latency_us = 90000, .status = 200});
    assert(pick(&ordinary, two, 2) == 1);
    learn({.id = 2, .latency_us = 100, .failure = 1});
    assert(pick(&ordinary, two, 2) == 0);
}

static void a_client_that_left_says_nothing(void) {
    known = {};
    learn({.id = 1, .latency_us = 9000000, .failure = 5});
    assert(latency_of(1) == DEFAULT_LATENCY_US);
}

static void averages_survive_a_swap(void) {
    known = {};
    for (uint32_t id = 0; id < 2000; id++)
        learn({.id = id, .latency_us = 30000 + id, .status = 200});
    anubis_text saved = save();
    const auto before = known;
    known = {};
    assert(restore(saved.data, saved.length) == NULL);
    assert(std::memcmp(before.data(), known.data(), sizeof known) == 0);
}

static void other_bytes_are_refused(void) {
    assert(restore("abc", 3) != NULL);
    assert(restore("\0\0\0\0\0\0\0\0", 8) != NULL);
    assert(restore("\1\0\0\0\1\0\0\0\1\0\0\0\1\0\0\0", 16) != NULL);
    assert(restore("", 0) == NULL);
}

static void the_configuration_is_a_percentage(void) {
    assert(configure("", 0) == NULL && percent == 10);
    assert(configure("25", 2) == NULL && percent == 25);
    assert(configure("100", 3) == NULL && configure("101", 3) != NULL);
    assert(configure("0", 1) != NULL && configure("4294967297", 10) != NULL && configure("x", 1) != NULL);
}

int main(void) {
    who_was_slow_or_failed_is_avoided();
    a_client_that_left_says_nothing();
    averages_survive_a_swap();
    other_bytes_are_refused();
    the_configuration_is_a_percentage();
    puts("5 tests passed");
}
