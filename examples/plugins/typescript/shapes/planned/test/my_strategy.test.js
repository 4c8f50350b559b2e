// Native: `npm test` needs no WebAssembly.

import assert from "node:assert/strict";
import test from "node:test";

import { config, planner } from "../build/js/my_strategy.js";

const backend = (changes) => ({ weight: 1, latencyUs: 0, capacity: 0, inFlight: 0, ...changes });
const weights = (...backends) => {
  const { tag, val } = planner.plan(backends);
  assert.equal(tag, "two-choices");
  return val;
};

test("weights are the operator's", () => {
  assert.deepEqual(weights(backend(), backend({ weight: 3 })), [1_000, 3_000]);
});

test("who is slow, or nearly full, gets less", () => {
  const slow = backend({ latencyUs: 40_000 });
  const nearlyFull = backend({ capacity: 10, inFlight: 8 });
  assert.deepEqual(weights(backend(), slow, nearlyFull), [1_000, 500, 200]);
});

test("nobody gets nothing", () => {
  const most = backend({ capacity: 1, inFlight: 2 ** 32 - 1, latencyUs: 2 ** 32 - 1 });
  assert.deepEqual(weights(most), [1]);
});

test("every weight is a u32", () => {
  assert.deepEqual(weights(backend({ weight: 65_535 })), [65_535_000]);
});

test("the options are checked", () => {
  for (const text of ["", "{}", '{"default-latency-ms": 20}']) config.configure(text);
  for (const text of ["[]", "{", "null", '{"default-latency-ms": 0}', '{"latency": 1}']) {
    assert.throws(() => config.configure(text), undefined, text);
  }
});
