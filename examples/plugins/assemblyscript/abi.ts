// The canonical ABI of the contract in wit/lb.wit. There is nothing to change here.

/** A backend as it is now; the fields are explained in lb.wit. */
@unmanaged
export class Backend {
  id: u32; weight: u32; capacity: u32; priority: u32; zone: u32;
  inFlight: u32; latencyUs: u32; failures: u32; utilization: u32; state: u32;
}

/** The backends of one call: valid until it returns. */
export class Backends {
  first: usize = 0;
  length: i32 = 0;

  at(index: i32): Backend {
    return changetype<Backend>(this.first + <usize>index * offsetof<Backend>());
  }

  from(first: usize, length: i32): Backends {
    this.first = first;
    this.length = length;
    return this;
  }
}

/** What every pick knows of the request. */
export class Request {
  key: u64 = 0; random: u64 = 0; sequence: u64 = 0; nowUs: u64 = 0;
  generation: u32 = 0; attempt: u32 = 0;
}

/** What became of one attempt. */
@unmanaged
export class Outcome {
  tag: u64; id: u32; latencyUs: u32; status: u32; failure: u32; attempt: u32;
}
export const OUTCOME: usize = 32;

/** Instead of an index; a status is refused with as `-status`. */
export const FALLBACK: i64 = -1;
export const WAIT: i64 = -2;

// What a call is given lies in one arena, which is empty again when the call returns.
let base: usize = 0, held: usize = 0, used: usize = 0;

export function cabi_realloc(old: usize, oldSize: usize, align: usize, size: usize): usize {
  if (size <= oldSize) return old;
  let place = (base + used + align - 1) & ~(align - 1);
  if (base == 0 || place + size > base + held) {
    held = max<usize>(max<usize>(4096, held * 2), size + 32);
    const next = heap.alloc(held);
    store<usize>(next, base); // the outgrown one is still in use: freed at the end
    base = next;
    used = sizeof<usize>();
    place = (base + used + align - 1) & ~(align - 1);
  }
  used = place + size - base;
  if (oldSize) memory.copy(place, old, oldSize);
  return place;
}

function returned(): void {
  if (base == 0) return;
  let outgrown = load<usize>(base);
  while (outgrown != 0) {
    const next = load<usize>(outgrown);
    heap.free(outgrown);
    outgrown = next;
  }
  store<usize>(base, 0);
  used = sizeof<usize>();
}

const RETURN: usize = memory.data(16, 8);
let text: ArrayBuffer = new ArrayBuffer(0); // what was returned last

/** `result<u32, refusal>` */
export function chosen(answer: i64): usize {
  const refused = answer < 0;
  store<u8>(RETURN, <u8>refused);
  if (refused) {
    store<u8>(RETURN, answer == FALLBACK ? 0 : answer == WAIT ? 1 : 2, 4);
    store<u16>(RETURN, <u16>-answer, 6);
  } else store<u32>(RETURN, <u32>answer, 4);
  returned();
  return RETURN;
}

/** `result<_, string>` */
export function result(error: string | null): usize {
  store<u8>(RETURN, <u8>(error !== null));
  if (error !== null) {
    text = String.UTF8.encode(error);
    store<usize>(RETURN, changetype<usize>(text), 4);
    store<u32>(RETURN, text.byteLength, 8);
  }
  returned();
  return RETURN;
}

/** `list<u8>` */
export function bytes(saved: ArrayBuffer): usize {
  text = saved;
  store<usize>(RETURN, changetype<usize>(text));
  store<u32>(RETURN, text.byteLength, 4);
  returned();
  return RETURN;
}

/** `routing`: 0 weights, 1 two choices, 2 table, 3 order */
export function routing(kind: u8, numbers: StaticArray<u32>): usize {
  store<u8>(RETURN, kind);
  store<usize>(RETURN, changetype<usize>(numbers), 4);
  store<u32>(RETURN, numbers.length, 8);
  returned();
  return RETURN;
}

export function finished(): void { returned(); }

export function abort(_message: usize, _file: usize, _line: u32, _column: u32): void { unreachable(); }
