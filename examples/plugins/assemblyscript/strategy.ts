// The backend with the shortest expected time to a response; equals take turns by weight.
import { Backends, FALLBACK, Request } from "./abi";

/** A latency below 20 ms counts as that much, as does none yet. */
const DEFAULT_LATENCY: u32 = 20_000;

export function pick(request: Request, backends: Backends): i64 {
  let total: f64 = 0;
  for (let i = 0; i < backends.length; i++) total += <f64>backends.at(i).weight;
  const meanWeight = total / <f64>backends.length;

  let random = request.random, best = FALLBACK, least: f64 = 0;
  let tied: u64 = 0; // weight of all that are as good as the best
  for (let i = 0; i < backends.length; i++) {
    const b = backends.at(i);
    const weight = max<u64>(b.weight, 1);
    const time = <f64>max<u32>(b.latencyUs, DEFAULT_LATENCY) * (1 + <f64>b.inFlight * meanWeight / <f64>weight);
    if (best >= 0 && time > least) continue;
    tied = best >= 0 && time == least ? tied + weight : weight;
    least = time;
    random = random * 6364136223846793005 + 1442695040888963407; // a draw for each tie
    if ((random >> 33) * tied >> 31 < weight) best = i;
  }
  return best;
}
