// The backend with the shortest expected time to a response, by what became of earlier
// requests; equals share by weight.

// In microseconds: a latency below it counts as that much, as does none yet.
const DEFAULT_LATENCY = 20_000;
// What a failure counts as.
const FAILED = 1_000_000;
// One pick of so many looks at a backend by weight alone: who was slow is asked again.
const EXPLORE = 32;
// Backends remembered; who was heard of longest ago is forgotten first.
const MOST = 10_000;
const CLIENT_LEFT = 5;

let gain = 0.1;
// Moving average of the latency in microseconds, by the backend's id.
const averages = new Map();

// Longest configuration, in characters.
const LONGEST = 1_000;

export const config = {
  // `config = { gain = 0.2 }`: how much the newest outcome counts, above 0 to 1.
  configure(text) {
    const options = parse(text);
    const unknown = Object.keys(options).find((key) => key !== "gain");
    if (unknown !== undefined) throw `${unknown}: unknown option`;
    const wanted = options.gain ?? gain;
    if (!(typeof wanted === "number" && wanted > 0 && wanted <= 1)) {
      throw "gain: a number above 0, at most 1";
    }
    gain = wanted;
  },
};

export const strategy = {
  pick(request, backends) {
    const all = [...backends.keys()];
    if (request.sequence % EXPLORE === EXPLORE - 1) return share(request, backends, all);
    const meanWeight = sum(backends, ({ weight }) => weight) / backends.length;
    const costs = backends.map(
      ({ id, inFlight, weight }) =>
        Math.max(averages.get(id) ?? 0, DEFAULT_LATENCY) * (1 + (inFlight * meanWeight) / weight),
    );
    const least = costs.reduce((a, b) => Math.min(a, b));
    return share(request, backends, all.filter((index) => costs[index] === least));
  },
};

export const feedback = {
  observe(outcomes) {
    for (const { id, latencyUs, status, failure } of outcomes) {
      if (failure === CLIENT_LEFT) continue;
      const newest = failure !== 0 || status >= 500 ? FAILED : latencyUs;
      const average = averages.get(id) ?? newest;
      remember(id, average + gain * (newest - average));
    }
  },
};

export const state = {
  // Pairs of an id and its average.
  save() {
    return new Uint8Array(new Float64Array([...averages].flat()).buffer);
  },
  restore(saved) {
    const bytes = Uint8Array.from(saved);
    if (bytes.length % 16 !== 0 || bytes.length > 16 * MOST) throw "no state of this strategy";
    const numbers = new Float64Array(bytes.buffer);
    for (let at = 0; at < numbers.length; at += 2) {
      const [id, average] = numbers.subarray(at, at + 2);
      const isId = Number.isInteger(id) && id >= 0 && id < 2 ** 32;
      if (!(isId && average >= 0 && average < 2 ** 32)) {
        averages.clear();
        throw "no state of this strategy";
      }
      averages.set(id, average);
    }
  },
};

function remember(id, average) {
  averages.delete(id);
  averages.set(id, average);
  if (averages.size > MOST) averages.delete(averages.keys().next().value);
}

// One of `members`, which are indices, by weight.
function share(request, backends, members) {
  let point = (request.random / 2 ** 53) * sum(members, (index) => backends[index].weight);
  return members.find((index) => (point -= backends[index].weight) < 0) ?? members[0];
}

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

const sum = (list, value) => list.reduce((total, item) => total + value(item), 0);
