// The contract between the proxy and a plugin, `lb.wit`, as componentize-qjs shows it to
// TypeScript: what a plugin exports is an object of that name, what it imports is a
// module. Types only: no program is made of this file.

declare module "anubis:lb" {
  /** One backend as it is at this moment. */
  export interface Backend {
    /** Constant while the backend is in the pool, also across plugin swaps. */
    readonly id: number;
    /** 1 to 65535: the operator's, reduced while the backend is in slow start. */
    readonly weight: number;
    /** Most requests it takes at once; 0 = no limit. */
    readonly capacity: number;
    /** 0 = first choice; higher numbers are backups. */
    readonly priority: number;
    /** 0 = none. Equal numbers are equal zones. */
    readonly zone: number;
    /** Requests now in flight from this proxy. */
    readonly inFlight: number;
    /** Microseconds to the response head, a decaying average; 0 = no sample yet. */
    readonly latencyUs: number;
    /** Average failed share of requests, in 1/10000. */
    readonly failures: number;
    /** Load that the backend reports of itself, in 1/10000; 0 = not reported. */
    readonly utilization: number;
    /** Bits: 1 = in slow start, 2 = in the proxy's own zone. Ignore others. */
    readonly state: number;
  }

  /** What every pick knows about the request. Whole numbers below 2^53. */
  export interface Request {
    /** Hash of the operator's `hash-key`; random where there is none. */
    readonly key: number;
    /** 53 uniform random bits, new for every pick. */
    readonly random: number;
    /** Counts the pool's picks over all workers. */
    readonly sequence: number;
    /** Monotonic microseconds since the proxy started. */
    readonly nowUs: number;
    /** Changes when membership, weights or eligibility change. */
    readonly generation: number;
    /** 0 for the first try, 1 for the first retry ... */
    readonly attempt: number;
  }

  /** Thrown by `pick` where no backend is chosen. */
  export type Refusal =
    /** No opinion: the pool's fallback strategy chooses. */
    | { readonly tag: "fallback" }
    /** Nothing suitable now: the request waits in the pool's queue. */
    | { readonly tag: "wait" }
    /** The request is refused with this status, 400 to 599. */
    | { readonly tag: "reject"; readonly val: number };

  /** What became of one attempt. */
  export interface Outcome {
    /** What was given to `tag` during the pick, else 0. */
    readonly tag: number;
    /** The backend's id: the pool may have changed since. */
    readonly id: number;
    /** Microseconds to the response head. */
    readonly latencyUs: number;
    /** HTTP status; 0 = there was no response. */
    readonly status: number;
    /** 0 none, 1 connect, 2 timeout, 3 reset, 4 protocol, 5 client left. */
    readonly failure: number;
    readonly attempt: number;
  }

  /** A plan; indices and weights are those of the list it was made for. */
  export type Routing =
    /** A weight for each backend (0 = none): weighted random. */
    | { readonly tag: "weights"; readonly val: number[] }
    /** A weight for each: two weighted draws, the less loaded one wins. */
    | { readonly tag: "two-choices"; readonly val: number[] }
    /** Entry `key % length`. */
    | { readonly tag: "table"; readonly val: number[] }
    /** The first eligible one in this order. */
    | { readonly tag: "order"; readonly val: number[] };

  /** `export const strategy: Strategy`: asked for every request. */
  export interface Strategy {
    /** An index of `backends`, which is never empty. Throws a `Refusal`. */
    pick(request: Request, backends: readonly Backend[]): number;
  }

  /** `export const planner: Planner`: asked when the pool changes, and on a timer. */
  export interface Planner {
    plan(backends: readonly Backend[]): Routing;
  }

  /** `export const config: Config`: called first, once. */
  export interface Config {
    /** Throws a string: what is wrong. */
    configure(text: string): void;
  }

  /** `export const feedback: Feedback`: outcomes, in batches. */
  export interface Feedback {
    observe(outcomes: readonly Outcome[]): void;
  }

  /** `export const state: State`: hand-over when the plugin is replaced. */
  export interface State {
    save(): Uint8Array;
    /** Throws a string: why it does not take these bytes. */
    restore(saved: Uint8Array | readonly number[]): void;
  }
}

/** Writes to the proxy's log; rate-limited, cut at 1 KiB. */
declare module "anubis:lb/log@0.1.0" {
  export function write(
    level: "trace" | "debug" | "info" | "warn" | "error",
    message: string,
  ): void;
}

/** The request being picked for. Outside `pick` every text is empty. */
declare module "anubis:lb/inbound@0.1.0" {
  export function method(): string;
  export function path(): string;
  export function authority(): string;
  export function clientAddress(): string;
  export function header(name: string): string | null | undefined;
  /** A number below 2^53 that comes back in `outcome.tag`. */
  export function tag(value: number): void;
}

/** What does not change while a backend is in the pool, by its id. */
declare module "anubis:lb/members@0.1.0" {
  export function name(id: number): string | null | undefined;
  export function address(id: number): string | null | undefined;
  export function zone(id: number): string | null | undefined;
  export function label(id: number, key: string): string | null | undefined;
}

/** Counters shared by all instances of this plugin; 1024 slots, all 0 at first. */
declare module "anubis:lb/shared@0.1.0" {
  export function add(slot: number, delta: number): number;
  export function load(slot: number): number;
}
