// A plan for the whole pool, made once a second and when the pool changes: weights by
// latency and by what is left of the capacity. Of two drawn by these weights the proxy
// takes the less loaded one, by itself: a request costs no call, however many backends
// there are.

// Weights are whole numbers: so many steps for each that the operator gave.
const STEPS = 1_000;

let defaultLatency = 20_000;

// Longest configuration, in characters.
const LONGEST = 1_000;

export const config = {
  // `config = { default-latency-ms = 20 }`: a latency below it counts as that much, as
  // does none yet; 1 to 60000.
  configure(text) {
    const options = parse(text);
    const unknown = Object.keys(options).find((key) => key !== "default-latency-ms");
    if (unknown !== undefined) throw `${unknown}: unknown option`;
    const wanted = options["default-latency-ms"] ?? defaultLatency / 1_000;
    if (!(typeof wanted === "number" && wanted >= 1 && wanted <= 60_000)) {
      throw "default-latency-ms: a number from 1 to 60000";
    }
    defaultLatency = wanted * 1_000;
  },
};

export const planner = {
  plan(backends) {
    const weights = new Array(backends.length);
    for (let index = 0; index < weights.length; index += 1) {
      const { weight, latencyUs, capacity, inFlight } = backends[index];
      let share = weight * STEPS;
      if (latencyUs > defaultLatency) share *= defaultLatency / latencyUs;
      if (capacity > 0) share *= Math.max(1 - inFlight / capacity, 0);
      // Nobody is given up: a request now and then shows whether it is better.
      weights[index] = Math.max(Math.round(share), 1);
    }
    return { tag: "two-choices", val: weights };
  },
};

function parse(text) {
  if (text.trim() === "") return {};
  // A parser of deeply nested texts runs out of stack, which no `catch` sees.
  if (text.length > LONGEST) throw `longer than ${LONGEST} characters`;
  let options;
  try {
    options = JSON.parse(text);
  } catch (error) {
    throw `not JSON: ${error.message}`;
  }
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw "the options are no JSON object";
  }
  return options;
}
