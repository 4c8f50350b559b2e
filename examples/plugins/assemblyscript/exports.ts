// What this plugin exports: INTERFACE_FUNCTION of the contract in wit/lb.wit. There is
// nothing to change here.
import { Backends, Request, chosen } from "./abi";
import { pick } from "./strategy";
export { cabi_realloc } from "./abi";

const request = new Request();
const backends = new Backends();

export function strategy_pick(key: u64, random: u64, sequence: u64, nowUs: u64, generation: u32, attempt: u32, first: usize, count: i32): usize {
  request.key = key;
  request.random = random;
  request.sequence = sequence;
  request.nowUs = nowUs;
  request.generation = generation;
  request.attempt = attempt;
  return chosen(pick(request, backends.from(first, count)));
}
