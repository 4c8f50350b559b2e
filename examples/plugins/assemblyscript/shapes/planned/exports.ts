// What this plugin exports: INTERFACE_FUNCTION of the contract in wit/lb.wit. There is
// nothing to change here.
import { Backends, result, routing } from "./abi";
import { KIND, configure, plan } from "./strategy";
export { cabi_realloc } from "./abi";

const backends = new Backends();
let planned = new StaticArray<u32>(0); // kept while the proxy reads it

export function planner_plan(first: usize, count: i32): usize {
  planned = plan(backends.from(first, count));
  return routing(KIND, planned);
}

export function config_configure(text: usize, length: usize): usize {
  return result(configure(String.UTF8.decodeUnsafe(text, length)));
}
