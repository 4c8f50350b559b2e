// Native: `npm test` needs no WebAssembly.

import assert from "node:assert/strict";
import test from "node:test";

import { cookie, hash, leastLoaded, options, owner } from "../build/js/choice.js";

const sessions = [...Array(3_000).keys()].map((number) => `session-${number}`);

test("the cookie is found among others", () => {
  assert.equal(cookie("a=1; session=anna; b=2", "session"), "anna");
  assert.equal(cookie("session=a=b", "session"), "a=b");
  for (const header of ["", "a=1", "xsession=a", "session", "session=", ";;=;"]) {
    assert.equal(cookie(header, "session"), undefined, header);
  }
});

const hashes = new Map(["a", "b", "c"].map((name, id) => [id, hash(name)]));
const owners = (backends) => sessions.map((session) => backends[owner(hash(session), backends, hashes)].id);

test("each session has one backend, and each backend has its share of them", () => {
  const of = owners([{ id: 0, weight: 3 }, { id: 1, weight: 1 }]);
  const count = of.filter((id) => id === 1).length;
  assert.ok(count > 650 && count < 850, `${count}`);
});

test("who goes takes along only its own sessions", () => {
  const [a, b, c] = [0, 1, 2].map((id) => ({ id, weight: 1 }));
  const before = owners([a, b, c]);
  owners([c, a]).forEach((id, index) => {
    if (before[index] !== b.id) assert.equal(id, before[index]);
  });
});

test("without a cookie the least loaded is asked, equals by weight", () => {
  const backend = (weight, inFlight) => ({ weight, inFlight });
  const at = (random) => ({ random: Math.floor(random * 2 ** 53) });
  assert.equal(leastLoaded(at(0), [backend(1, 2), backend(1, 1)]), 1);
  const idle = [backend(3, 0), backend(1, 0)];
  assert.deepEqual([0, 0.7, 0.8].map((random) => leastLoaded(at(random), idle)), [0, 0, 1]);
});

test("the options are checked", () => {
  assert.deepEqual(options(""), { cookie: "session", otherwise: "least-loaded" });
  assert.equal(options('{"otherwise": "fallback"}').otherwise, "fallback");
  for (const text of ["[", "[]", "null", '{"cookies": 1}', '{"cookie": ""}', '{"otherwise": 1}']) {
    assert.throws(() => options(text), undefined, text);
  }
});
