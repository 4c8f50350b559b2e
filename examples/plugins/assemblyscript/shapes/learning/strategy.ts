// Learns what each backend's answers take, failures included, and picks the shortest
// expected time; equals take turns by weight, and one request in 50 explores.
import { Backends, FALLBACK, Outcome, Request } from "./abi";

const SLOTS: u32 = 1024;
const DEFAULT_LATENCY: u32 = 20_000;
const FAILED: u32 = 1_000_000;
const EXPLORE: u64 = 50;

// Averages by backend id; of two ids that meet in one slot the later one is known.
const ids = new StaticArray<u32>(SLOTS);
const latencies = new StaticArray<u32>(SLOTS);
let percent: u64 = 10; // part of a new answer in the average

export function configure(text: string): string | null {
  const wrong = "the configuration is the part of a new answer in the average: 1 to 100 (percent)";
  let number: u64 = text.length ? 0 : 10;
  if (text.length > 3) return wrong;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return wrong;
    number = number * 10 + digit;
  }
  if (number < 1 || number > 100) return wrong;
  percent = number;
  return null;
}

export function observe(o: Outcome): void {
  if (o.failure == 5) return; // the client left: that says nothing of the backend
  const failed = o.failure != 0 || o.status >= 500;
  const took: u64 = failed ? max<u32>(o.latencyUs, FAILED) : o.latencyUs;
  const slot = o.id % SLOTS;
  const before: u64 = ids[slot] == o.id && latencies[slot] > 0 ? latencies[slot] : took;
  ids[slot] = o.id;
  latencies[slot] = <u32>((before * (100 - percent) + took * percent) / 100);
}

function latencyOf(id: u32): f64 {
  const slot = id % SLOTS;
  return <f64>(ids[slot] == id ? max<u32>(latencies[slot], DEFAULT_LATENCY) : DEFAULT_LATENCY);
}

export function pick(request: Request, backends: Backends): i64 {
  let total: f64 = 0;
  for (let i = 0; i < backends.length; i++) total += <f64>backends.at(i).weight;
  const meanWeight = total / <f64>backends.length;

  let random = request.random, best = FALLBACK, least: f64 = 0;
  const exploring = random % EXPLORE == 0;
  let tied: u64 = 0; // weight of all that are as good as the best
  for (let i = 0; i < backends.length; i++) {
    const b = backends.at(i);
    const weight = max<u64>(b.weight, 1);
    const time = exploring ? 0 : latencyOf(b.id) * (1 + <f64>b.inFlight * meanWeight / <f64>weight);
    if (best >= 0 && time > least) continue;
    tied = best >= 0 && time == least ? tied + weight : weight;
    least = time;
    random = random * 6364136223846793005 + 1442695040888963407; // a draw for each tie
    if ((random >> 33) * tied >> 31 < weight) best = i;
  }
  return best;
}

/** What a successor needs: every average that there is. */
export function save(): ArrayBuffer {
  let count = 0;
  for (let slot: u32 = 0; slot < SLOTS; slot++) if (latencies[slot] > 0) count++;
  const saved = new ArrayBuffer(8 * count);
  let at = changetype<usize>(saved);
  for (let slot: u32 = 0; slot < SLOTS; slot++) {
    if (latencies[slot] == 0) continue;
    store<u32>(at, ids[slot]);
    store<u32>(at, latencies[slot], 4);
    at += 8;
  }
  return saved;
}

export function restore(saved: usize, length: u32): string | null {
  const wrong = "not what this strategy saves";
  if (length % 8 != 0 || length > 8 * SLOTS) return wrong;
  for (let at: u32 = 0; at < length; at += 8) { // in the order of their slots, none twice
    if (load<u32>(saved + at, 4) == 0) return wrong;
    if (at > 0 && load<u32>(saved + at - 8) % SLOTS >= load<u32>(saved + at) % SLOTS) return wrong;
  }
  for (let at: u32 = 0; at < length; at += 8) {
    const id = load<u32>(saved + at);
    ids[id % SLOTS] = id;
    latencies[id % SLOTS] = load<u32>(saved + at, 4);
  }
  return null;
}
