// A client whose cookie names its session stays with one backend; the others go to the
// least loaded.

import type { Backend, Config, Refusal, Strategy } from "anubis:lb";
import { header } from "anubis:lb/inbound@0.1.0";
import { name } from "anubis:lb/members@0.1.0";

import { cookie, hash, leastLoaded, options, owner } from "./choice.js";

let wanted = options("");
// Hashes of the backends' names by their ids, which are never used again for others.
const hashes = new Map<number, number>();
// Where so many are remembered, most have left the pool.
const MOST = 20_000;
// Names that are asked for in one pick: in a large pool all would take too long.
const AT_ONCE = 100;
// An interpreter that compares more takes too long for a request.
const LARGEST_POOL = 250;

export const config: Config = {
  configure(text) {
    wanted = options(text);
  },
};

export const strategy: Strategy = {
  pick(request, backends) {
    const session = cookie(header("cookie") ?? "", wanted.cookie);
    if (backends.length > LARGEST_POOL) throw { tag: "fallback" } satisfies Refusal;
    if (session !== undefined && named(backends)) {
      return owner(hash(session), backends, hashes);
    }
    if (wanted.otherwise === "fallback") throw { tag: "fallback" } satisfies Refusal;
    return leastLoaded(request, backends);
  },
};

// Whether all names are known by now; if not, some more are. By names: they are the same
// after a restart, and in another proxy.
function named(backends: readonly Backend[]): boolean {
  if (hashes.size > MOST) hashes.clear();
  const unknown = backends.filter(({ id }) => !hashes.has(id));
  for (const { id } of unknown.slice(0, AT_ONCE)) hashes.set(id, hash(name(id) ?? `#${id}`));
  return unknown.length <= AT_ONCE;
}
