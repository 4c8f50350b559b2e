// Native: `npm test` needs no WebAssembly.

import assert from "node:assert/strict";
import test from "node:test";

import { strategy } from "../build/js/my_strategy.js";

const backend = (changes) => ({ weight: 1, inFlight: 0, latencyUs: 0, ...changes });
const request = (random) => ({ random: Math.floor(random * 2 ** 53) });

test("the quickest is picked", () => {
  const backends = [90_000, 30_000, 60_000].map((latencyUs) => backend({ latencyUs }));
  assert.equal(strategy.pick(request(0.9), backends), 1);
});

test("who is busy takes longer", () => {
  assert.equal(strategy.pick(request(0), [backend({ inFlight: 3 }), backend()]), 1);
});

test("equals share by weight", () => {
  const backends = [backend({ weight: 3 }), backend()];
  const picks = [0, 0.2, 0.4, 0.74, 0.76, 0.99].map((at) =>
    strategy.pick(request(at), backends),
  );
  assert.deepEqual(picks, [0, 0, 0, 0, 1, 1]);
});

test("the largest numbers are only numbers", () => {
  const most = backend({ weight: 65_535, inFlight: 2 ** 32 - 1, latencyUs: 2 ** 32 - 1 });
  const picked = strategy.pick({ random: 2 ** 53 - 1 }, [most, most]);
  assert.ok(picked === 0 || picked === 1);
});
