// Native: `npm test` needs no WebAssembly.

import assert from "node:assert/strict";
import test, { beforeEach } from "node:test";

import { config, feedback, state, strategy } from "../build/js/my_strategy.js";

const backends = [1, 2].map((id) => ({ id, weight: 1, inFlight: 0 }));
const request = { random: 0, sequence: 0 };
const outcome = (id, changes) => ({ id, latencyUs: 1_000, status: 200, failure: 0, ...changes });

beforeEach(() => state.restore(forgotten()));

function forgotten() {
  assert.throws(() => state.restore(new Uint8Array(16).fill(0xff)));
  return new Uint8Array();
}

test("who was slow or failed is left alone", () => {
  feedback.observe([outcome(1, { latencyUs: 90_000 }), outcome(2)]);
  assert.equal(strategy.pick(request, backends), 1);
  feedback.observe([outcome(2, { status: 503 }), outcome(2, { failure: 1, status: 0 })]);
  assert.equal(strategy.pick(request, backends), 0);
});

test("a client that left says nothing of the backend", () => {
  feedback.observe([outcome(1, { failure: 5, status: 0 })]);
  assert.equal(strategy.pick(request, backends), 0);
});

test("who was slow is asked again", () => {
  feedback.observe([outcome(1, { latencyUs: 90_000 })]);
  const picks = [...Array(32).keys()].map((sequence) =>
    strategy.pick({ random: 0, sequence }, backends),
  );
  assert.equal(picks.filter((index) => index === 0).length, 1);
});

test("what was learned is handed over", () => {
  feedback.observe([outcome(1, { latencyUs: 90_000 })]);
  const saved = state.save();
  forgotten();
  assert.equal(strategy.pick(request, backends), 0);
  state.restore(saved);
  assert.equal(strategy.pick(request, backends), 1);
});

test("other bytes are refused", () => {
  for (const bytes of [[0], Array(15).fill(7), Array(16).fill(0xff), Array(160_016).fill(0)]) {
    assert.throws(() => state.restore(Uint8Array.from(bytes)));
  }
});

test("the options are checked", () => {
  for (const text of ["", "{}", '{"gain": 1}']) config.configure(text);
  for (const text of ["[]", "{", "null", '{"gain": 0}', '{"gain": "1"}', '{"grain": 1}']) {
    assert.throws(() => config.configure(text), undefined, text);
  }
});

test("memory is bounded", () => {
  for (let id = 0; id < 20_000; id += 1) feedback.observe([outcome(id)]);
  assert.equal(state.save().length, 16 * 10_000);
});
