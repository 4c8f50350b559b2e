// The contract of wit/lb.wit for C and C++: one header, no library, no allocation to
// give back. What a call is given, and what anubis_allocate gives, is valid until the
// call returns; what outlives it is yours to keep in variables.
//
// Write the functions, then name them once, in one file:
//
//     ANUBIS_STRATEGY(pick)          // or ANUBIS_PLANNER(plan)
//     ANUBIS_CONFIG(configure)       // these three where they are wanted
//     ANUBIS_FEEDBACK(observe)
//     ANUBIS_STATE(save, restore)
//
// A function of the proxy (anubis_log ...) is imported only where it is called. Natively,
// for tests, they do nothing.
#pragma once
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define ANUBIS_C extern "C"
#define ANUBIS_SAME(condition) static_assert(condition, "not the contract's layout")
#else
#define ANUBIS_C
#define ANUBIS_SAME(condition) _Static_assert(condition, "not the contract's layout")
#endif

// A backend as it is now.
typedef struct {
    uint32_t id;          // constant while it is in the pool, never used again
    uint32_t weight;      // 1 to 65535
    uint32_t capacity;    // most requests at once; 0 = no limit
    uint32_t priority;    // 0 = first choice
    uint32_t zone;        // 0 = none; equal numbers are equal zones
    uint32_t in_flight;   // requests now in flight
    uint32_t latency_us;  // 0 = no sample yet
    uint32_t failures;    // failed share, in 1/10000
    uint32_t utilization; // reported load, in 1/10000; 0 = not reported
    uint32_t state;       // bits: 1 = in slow start, 2 = in the proxy's zone
} anubis_backend;
ANUBIS_SAME(sizeof(anubis_backend) == 40);

typedef struct {
    uint64_t key;        // hash of the affinity key, or random
    uint64_t random;     // 53 random bits, new for every pick
    uint64_t sequence;   // counts the pool's picks
    uint64_t now_us;     // since the proxy started
    uint32_t generation; // changes when the pool does
    uint32_t attempt;    // 0 for the first try
} anubis_request;

// What became of one attempt.
typedef struct {
    uint64_t tag;        // what anubis_tag was given during the pick, else 0
    uint32_t id;         // of the backend
    uint32_t latency_us; // to the response head
    uint32_t status;     // 0 = there was no response
    uint32_t failure;    // 0 none, 1 connect, 2 timeout, 3 reset, 4 protocol, 5 client left
    uint32_t attempt;
} anubis_outcome;
ANUBIS_SAME(sizeof(anubis_outcome) == 32);

// Text or bytes; no zero at the end. data is NULL where there is none.
typedef struct {
    const char *data;
    size_t length;
} anubis_text;

// How the proxy routes by `numbers`; see `routing` in lb.wit.
enum { ANUBIS_WEIGHTS, ANUBIS_TWO_CHOICES, ANUBIS_TABLE, ANUBIS_ORDER };
typedef struct {
    uint32_t kind;
    const uint32_t *numbers;
    size_t count;
} anubis_routing;

// Instead of an index, pick returns one of these, or -STATUS (400 to 599) to refuse the
// request with that status.
enum { ANUBIS_FALLBACK = -1, ANUBIS_WAIT = -2 };

enum { ANUBIS_TRACE, ANUBIS_DEBUG, ANUBIS_INFO, ANUBIS_WARN, ANUBIS_ERROR };

#ifdef __wasm__
#define ANUBIS_IMPORT(interface, name) \
    __attribute__((import_module("anubis:lb/" interface "@0.1.0"), import_name(name)))
#define ANUBIS_EXPORT(name) __attribute__((export_name(name), used))

// One arena for what a call is given: emptied at each call's end, grown when needed.
__attribute__((weak)) uintptr_t anubis_begin, anubis_top, anubis_end;

ANUBIS_C __attribute__((weak)) ANUBIS_EXPORT("cabi_realloc") void *cabi_realloc(
    void *old, size_t old_size, size_t align, size_t size) {
    if (size <= old_size) return old ? old : (void *)align;
    uintptr_t place = (anubis_top + align - 1) & ~(uintptr_t)(align - 1);
    if (place > anubis_end || anubis_end - place < size) {
        size_t held = anubis_end - anubis_begin;
        size_t wanted = size + align > held ? size + align : held;
        size_t pages = (wanted >> 16) + 1;
        size_t page = __builtin_wasm_memory_grow(0, pages);
        if (page == SIZE_MAX) __builtin_trap();
        if (page << 16 != anubis_end) anubis_begin = anubis_top = page << 16;
        anubis_end = (page + pages) << 16;
        place = (anubis_top + align - 1) & ~(uintptr_t)(align - 1);
    }
    anubis_top = place + size;
    for (size_t i = 0; i < old_size; i++) ((char *)place)[i] = ((char *)old)[i];
    return (void *)place;
}

// Memory until the call returns.
static inline void *anubis_allocate(size_t size) { return cabi_realloc(NULL, 0, 8, size); }

// What was returned stays as it is until the next call is given something.
static inline void anubis_returned(void) { anubis_top = anubis_begin; }

ANUBIS_C ANUBIS_IMPORT("log", "write") void anubis_imported_log(uint32_t, const char *, size_t);
ANUBIS_C ANUBIS_IMPORT("inbound", "method") void anubis_imported_method(anubis_text *);
ANUBIS_C ANUBIS_IMPORT("inbound", "path") void anubis_imported_path(anubis_text *);
ANUBIS_C ANUBIS_IMPORT("inbound", "authority") void anubis_imported_authority(anubis_text *);
ANUBIS_C ANUBIS_IMPORT("inbound", "client-address") void anubis_imported_client(anubis_text *);
ANUBIS_C ANUBIS_IMPORT("inbound", "header") void anubis_imported_header(const char *, size_t, void *);
ANUBIS_C ANUBIS_IMPORT("inbound", "tag") void anubis_tag(uint64_t value);
ANUBIS_C ANUBIS_IMPORT("members", "name") void anubis_imported_name(uint32_t, void *);
ANUBIS_C ANUBIS_IMPORT("members", "address") void anubis_imported_address(uint32_t, void *);
ANUBIS_C ANUBIS_IMPORT("members", "zone") void anubis_imported_zone(uint32_t, void *);
ANUBIS_C ANUBIS_IMPORT("members", "label") void anubis_imported_label(uint32_t, const char *, size_t, void *);
ANUBIS_C ANUBIS_IMPORT("shared", "add") int64_t anubis_shared_add(uint32_t slot, int64_t delta);
ANUBIS_C ANUBIS_IMPORT("shared", "load") int64_t anubis_shared_load(uint32_t slot);
#define ANUBIS_CALL(call) call
#else
#define ANUBIS_IMPORT(interface, name)
#define ANUBIS_EXPORT(name) __attribute__((unused))
#include <stdlib.h>
static inline void *anubis_allocate(size_t size) { return malloc(size); }
static inline void anubis_returned(void) {}
static inline void anubis_tag(uint64_t value) { (void)value; }
static inline int64_t anubis_shared_add(uint32_t slot, int64_t delta) { (void)slot; return delta; }
static inline int64_t anubis_shared_load(uint32_t slot) { (void)slot; return 0; }
#define ANUBIS_CALL(call) ((void)0)
#endif

static inline size_t anubis_length(const char *text) {
    size_t length = 0;
    while (text[length]) length++;
    return length;
}

// option<string> as the canonical ABI returns it.
typedef struct {
    uint8_t some;
    anubis_text text;
} anubis_maybe;
static inline anubis_text anubis_text_of(anubis_maybe maybe) {
    anubis_text none = {NULL, 0};
    return maybe.some ? maybe.text : none;
}

static inline void anubis_log(uint32_t level, const char *message) {
    (void)level, (void)message;
    ANUBIS_CALL(anubis_imported_log(level, message, anubis_length(message)));
}
#define ANUBIS_TEXT(function)                      \
    static inline anubis_text anubis_##function(void) { \
        anubis_text text = {NULL, 0};              \
        ANUBIS_CALL(anubis_imported_##function(&text)); \
        return text;                               \
    }
ANUBIS_TEXT(method)
ANUBIS_TEXT(path)
ANUBIS_TEXT(authority)
ANUBIS_TEXT(client)
static inline anubis_text anubis_header(const char *name) {
    anubis_maybe maybe = {0, {NULL, 0}};
    (void)name;
    ANUBIS_CALL(anubis_imported_header(name, anubis_length(name), &maybe));
    return anubis_text_of(maybe);
}
#define ANUBIS_MEMBER(function)                             \
    static inline anubis_text anubis_##function(uint32_t id) {   \
        anubis_maybe maybe = {0, {NULL, 0}};                \
        (void)id;                                           \
        ANUBIS_CALL(anubis_imported_##function(id, &maybe)); \
        return anubis_text_of(maybe);                       \
    }
ANUBIS_MEMBER(name)
ANUBIS_MEMBER(address)
ANUBIS_MEMBER(zone)
static inline anubis_text anubis_label(uint32_t id, const char *key) {
    anubis_maybe maybe = {0, {NULL, 0}};
    (void)id, (void)key;
    ANUBIS_CALL(anubis_imported_label(id, key, anubis_length(key), &maybe));
    return anubis_text_of(maybe);
}

// result<_, string>, as the canonical ABI returns it.
typedef struct {
    uint8_t failed;
    const char *error;
    size_t length;
} anubis_result;
static inline anubis_result anubis_result_of(const char *error) {
    anubis_result result = {0, NULL, 0};
    if (error) {
        result.failed = 1;
        result.error = error;
        result.length = anubis_length(error);
    }
    return result;
}

// result<u32, refusal>
typedef struct {
    uint8_t refused;
    union {
        uint32_t index;
        struct {
            uint8_t kind;
            uint16_t status;
        } refusal;
    } answer;
} anubis_choice;
static inline anubis_choice anubis_choice_of(int64_t answer) {
    anubis_choice choice = {0, {0}};
    if (answer >= 0) {
        choice.answer.index = answer > UINT32_MAX ? UINT32_MAX : (uint32_t)answer;
        return choice;
    }
    choice.refused = 1;
    choice.answer.refusal.kind = answer == ANUBIS_FALLBACK ? 0 : answer == ANUBIS_WAIT ? 1 : 2;
    choice.answer.refusal.status = (uint16_t)-answer;
    return choice;
}

// int64_t pick(const anubis_request *, const anubis_backend *, size_t count): an index.
#define ANUBIS_STRATEGY(pick)                                                             \
    ANUBIS_C ANUBIS_EXPORT("anubis:lb/strategy@0.1.0#pick") anubis_choice *anubis_exported_pick( \
        uint64_t key, uint64_t random, uint64_t sequence, uint64_t now_us,                \
        uint32_t generation, uint32_t attempt, const anubis_backend *backends, size_t count) { \
        static anubis_choice choice;                                                      \
        anubis_request request = {key, random, sequence, now_us, generation, attempt};    \
        choice = anubis_choice_of(pick(&request, backends, count));                       \
        anubis_returned();                                                                \
        return &choice;                                                                   \
    }

// anubis_routing plan(const anubis_backend *, size_t count)
#define ANUBIS_PLANNER(plan)                                                              \
    ANUBIS_C ANUBIS_EXPORT("anubis:lb/planner@0.1.0#plan") anubis_routing *anubis_exported_plan( \
        const anubis_backend *backends, size_t count) {                                   \
        static anubis_routing routing;                                                    \
        routing = plan(backends, count);                                                  \
        anubis_returned();                                                                \
        return &routing;                                                                  \
    }

// const char *configure(const char *text, size_t length): NULL, or what is wrong.
#define ANUBIS_CONFIG(configure)                                                          \
    ANUBIS_C ANUBIS_EXPORT("anubis:lb/config@0.1.0#configure") anubis_result *            \
    anubis_exported_configure(const char *text, size_t length) {                          \
        static anubis_result result;                                                      \
        result = anubis_result_of(configure(text, length));                               \
        anubis_returned();                                                                \
        return &result;                                                                   \
    }

// void observe(const anubis_outcome *, size_t count)
#define ANUBIS_FEEDBACK(observe)                                                          \
    ANUBIS_C ANUBIS_EXPORT("anubis:lb/feedback@0.1.0#observe") void anubis_exported_observe( \
        const anubis_outcome *outcomes, size_t count) {                                   \
        observe(outcomes, count);                                                         \
        anubis_returned();                                                                \
    }

// anubis_text save(void); const char *restore(const char *saved, size_t length): NULL, or
// what is wrong.
#define ANUBIS_STATE(save, restore)                                                       \
    ANUBIS_C ANUBIS_EXPORT("anubis:lb/state@0.1.0#save") anubis_text *anubis_exported_save(void) { \
        static anubis_text saved;                                                         \
        saved = save();                                                                   \
        anubis_returned();                                                                \
        return &saved;                                                                    \
    }                                                                                     \
    ANUBIS_C ANUBIS_EXPORT("anubis:lb/state@0.1.0#restore") anubis_result *               \
    anubis_exported_restore(const char *saved, size_t length) {                           \
        static anubis_result result;                                                      \
        result = anubis_result_of(restore(saved, length));                                \
        anubis_returned();                                                                \
        return &result;                                                                   \
    }
