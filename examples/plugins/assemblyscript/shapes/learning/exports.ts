// What this plugin exports: INTERFACE_FUNCTION of the contract in wit/lb.wit. There is
// nothing to change here.
import { Backends, OUTCOME, Outcome, Request, bytes, chosen, finished, result } from "./abi";
import { configure, observe, pick, restore, save } from "./strategy";
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

export function config_configure(text: usize, length: usize): usize {
  return result(configure(String.UTF8.decodeUnsafe(text, length)));
}

export function feedback_observe(first: usize, count: i32): void {
  for (let i = 0; i < count; i++) observe(changetype<Outcome>(first + <usize>i * OUTCOME));
  finished();
}

export function state_save(): usize {
  return bytes(save());
}

export function state_restore(saved: usize, length: i32): usize {
  return result(restore(saved, length));
}
