// A plan instead of a call for each request: two weighted draws, by the weights and the
// room that each backend has left.
import { Backend, Backends } from "./abi";

/** Two choices; 0 is weights, 2 a table, 3 an order. */
export const KIND: u8 = 1;

const ALL: u64 = 10_000;
let reserve: u64 = 0; // room that counts as none, in 1/10000

/** The configuration is the reserve in percent, 0 to 90; empty: 0. */
export function configure(text: string): string | null {
  const wrong = "the configuration is the room to leave, in percent: 0 to 90";
  let number: u64 = 0;
  if (text.length > 2) return wrong;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return wrong;
    number = number * 10 + digit;
  }
  if (number > 90) return wrong;
  reserve = number * ALL / 100;
  return null;
}

/** In 1/10000, by its capacity and by the load that it reports, whichever leaves less. */
function room(b: Backend): u64 {
  const taken: u64 = b.capacity ? <u64>b.inFlight * ALL / b.capacity : 0;
  return ALL - min<u64>(max<u64>(taken, b.utilization) + reserve, ALL);
}

export function plan(backends: Backends): StaticArray<u32> {
  const weights = new StaticArray<u32>(backends.length);
  for (let i = 0; i < backends.length; i++) {
    const b = backends.at(i);
    // A full one is asked last, and not never.
    weights[i] = <u32>max<u64>(min<u64>(b.weight, 65_535) * room(b) / 100, 1);
  }
  return weights;
}
