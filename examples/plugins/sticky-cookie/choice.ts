// What needs nothing of the proxy, and is tested natively.

import type { Backend, Request } from "anubis:lb";

export interface Options {
  /** The cookie that names the session. */
  cookie: string;
  /** Who gets a request without it. */
  otherwise: "least-loaded" | "fallback";
}

const DEFAULTS: Options = { cookie: "session", otherwise: "least-loaded" };

// Longest configuration, in characters. A parser of deeply nested texts runs out of
// stack, which no `catch` sees.
const LONGEST = 1_000;

/** The options in a configuration's text; throws a string. */
export function options(text: string): Options {
  const given = text.trim() === "" ? {} : parse(text);
  for (const key of Object.keys(given)) {
    if (!(key in DEFAULTS)) throw `${key}: unknown option`;
  }
  const { cookie, otherwise } = { ...DEFAULTS, ...given };
  if (typeof cookie !== "string" || !/^[\w.-]+$/.test(cookie)) {
    throw "cookie: letters, digits, `_`, `.` and `-`";
  }
  if (otherwise !== "least-loaded" && otherwise !== "fallback") {
    throw "otherwise: `least-loaded` or `fallback`";
  }
  return { cookie, otherwise };
}

function parse(text: string): Record<string, unknown> {
  if (text.length > LONGEST) throw `longer than ${LONGEST} characters`;
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (error) {
    throw `not JSON: ${error}`;
  }
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    throw "the options are no JSON object";
  }
  return given as Record<string, unknown>;
}

/** What the cookie `name` of a `Cookie` header says; nothing where it says nothing. */
export function cookie(header: string, name: string): string | undefined {
  for (const pair of header.split(";")) {
    const at = pair.indexOf("=");
    if (at >= 0 && pair.slice(0, at).trim() === name) {
      return pair.slice(at + 1).trim() || undefined;
    }
  }
  return undefined;
}

/**
 * The index of the backend that the session with this hash belongs to, by weighted
 * rendezvous hashing over the hashes of the backends' names: where one goes, only its
 * own sessions move, and they come back with it; the order of the list means nothing.
 */
export function owner(
  session: number,
  backends: readonly Pick<Backend, "id" | "weight">[],
  hashes: ReadonlyMap<number, number>,
): number {
  let best = 0;
  let highest = -1;
  for (let index = 0; index < backends.length; index += 1) {
    const { id, weight } = backends[index];
    // Above 0, below 1.
    const drawn = (mixed(session ^ (hashes.get(id) ?? id)) + 0.5) / 2 ** 32;
    const score = weight / -Math.log(drawn);
    if (score > highest) {
      best = index;
      highest = score;
    }
  }
  return best;
}

/** A polynomial of the UTF-16 code units, mixed. */
export function hash(text: string): number {
  let hash = text.length;
  for (let index = 0; index < text.length; index += 1) {
    // Below 2^53, so exact.
    hash = (hash * 65_599 + text.charCodeAt(index)) >>> 0;
  }
  return mixed(hash);
}

const multiply = Math.imul;

/** Every bit of the 32 depends on every bit that was. */
function mixed(hash: number): number {
  hash = multiply(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = multiply(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The index of the least loaded backend; equals share by weight. */
export function leastLoaded(request: Request, backends: readonly Backend[]): number {
  const loads = backends.map(({ inFlight, weight }) => inFlight / weight);
  const least = loads.reduce((a, b) => Math.min(a, b));
  const tied = [...backends.keys()].filter((index) => loads[index] === least);
  const total = tied.reduce((sum, index) => sum + backends[index].weight, 0);
  let point = (request.random / 2 ** 53) * total;
  return tied.find((index) => (point -= backends[index].weight) < 0) ?? tied[0];
}
