// What /metrics says: its text read, summed up, and kept for some minutes.

/** The metrics that the page reads. */
export const METRICS = {
  sends: "pushlet_sends_total",
  answers: "pushlet_answer_seconds",
  inFlight: "pushlet_in_flight",
  connections: "pushlet_connections_open",
  expiry: "pushlet_certificate_expiry_days",
  start: "process_start_time_seconds",
};

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** Every series of the text format: `[{ labels, value }]` by the name of the metric. */
function parse(text) {
  const series = new Map();
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : LINE.exec(line);
    if (found === null) {
      continue;
    }
    const [, name, list, value] = found;
    if (!series.has(name)) {
      series.set(name, []);
    }
    series.get(name).push({ labels: labelsOf(list), value: numberOf(value) });
  }
  return series;
}

function labelsOf(list) {
  const labels = {};
  for (const [, name, value] of (list ?? "").matchAll(LABEL)) {
    labels[name] = value.replace(/\\(.)/g, (_, sign) => (sign === "n" ? "\n" : sign));
  }
  return labels;
}

function numberOf(text) {
  return text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);
}

/** Why a send can fail without a word of the provider's; the last is for callers who hung up. */
const SILENCE = ["overloaded", "protocol_error", "timeout", "unanswered", "unreachable", ""];

/** Sends by outcome. What is neither accepted nor rejected has failed. */
class Outcomes {
  accepted = 0;
  rejected = 0;
  failed = 0;
  /** The provider said yes or no. */
  answered = 0;
  /** The provider said that it cannot now. */
  putOff = 0;

  add({ outcome, reason = "" }, value) {
    const isFinal = outcome === "accepted" || outcome === "rejected";
    this[isFinal ? outcome : "failed"] += value;
    // `credentials`: one that cannot be used is refused by the relay itself.
    if (isFinal && reason !== "credentials") {
      this.answered += value;
    }
    if (!isFinal && !SILENCE.includes(reason)) {
      this.putOff += value;
    }
  }
}

/** The series that an outcome is counted in, as Prometheus would be asked for them. */
export function selector(outcome, application) {
  const of = application === undefined ? "" : `application="${application}",`;
  const what = outcome === "failed" ? '!~"accepted|rejected"' : `="${outcome}"`;
  return `${METRICS.sends}{${of}outcome${what}}`;
}

/** One reading of /metrics. */
export class Reading {
  /** `time` in milliseconds, of the browser's steady clock. */
  constructor(text, time) {
    this.time = time;
    this.series = parse(text);
    this.start = this.sum(METRICS.start);
    this.total = new Outcomes();
    this.byProvider = new Map();
    this.byApplication = new Map();
    this.reasons = new Map();
    for (const { labels, value } of this.of(METRICS.sends)) {
      this.total.add(labels, value);
      entry(this.byProvider, labels.provider).add(labels, value);
      entry(this.byApplication, labels.application).add(labels, value);
      this.#count(labels, value);
    }
    this.answers = this.#histograms(METRICS.answers);
    this.gauges = new Map();
    for (const name of [METRICS.inFlight, METRICS.connections, METRICS.expiry]) {
      for (const { labels, value } of this.of(name)) {
        const key = `${name} ${labels.application ?? ""}`;
        this.gauges.set(key, (this.gauges.get(key) ?? 0) + value);
      }
    }
  }

  /** The series of a metric. */
  of(name) {
    return this.series.get(name) ?? [];
  }

  /** The sum of a metric's series; undefined if there is none. */
  sum(name) {
    const all = this.of(name);
    return all.length === 0 ? undefined : all.reduce((sum, { value }) => sum + value, 0);
  }

  /** A gauge of one application. */
  gauge(name, application) {
    return this.gauges.get(`${name} ${application}`);
  }

  #count({ outcome, provider, reason }, value) {
    if (outcome === "accepted" || value === 0) {
      return;
    }
    const key = `${provider} ${reason} ${outcome}`;
    const known = this.reasons.get(key) ?? { provider, reason, outcome, value: 0 };
    known.value += value;
    this.reasons.set(key, known);
  }

  /** By provider: how many answers took at most so many seconds. */
  #histograms(name) {
    const all = new Map();
    for (const { labels, value } of this.of(`${name}_bucket`)) {
      const buckets = all.get(labels.provider) ?? new Map();
      const bound = numberOf(labels.le);
      buckets.set(bound, (buckets.get(bound) ?? 0) + value);
      all.set(labels.provider, buckets);
    }
    return all;
  }
}

function entry(map, key) {
  if (!map.has(key)) {
    map.set(key, new Outcomes());
  }
  return map.get(key);
}

/** Readings of the last minutes. */
export class History {
  #readings = [];
  /** How many readings there were. */
  taken = 0;

  constructor(keptMs) {
    this.keptMs = keptMs;
  }

  /** Takes a reading. One of another process, or whose counters fell, makes those before worthless. */
  add(reading) {
    const last = this.#readings.at(-1);
    const sum = ({ total }) => total.accepted + total.rejected + total.failed;
    if (last !== undefined && (last.start !== reading.start || sum(reading) < sum(last))) {
      this.#readings = [];
    }
    this.#readings.push(slim(reading));
    this.taken += 1;
    const oldest = reading.time - this.keptMs;
    this.#readings = this.#readings.filter(({ time }) => time >= oldest);
  }

  /** Sends per second between one reading and the next: `{ time, accepted, rejected, failed }`. */
  rates() {
    return this.#readings.slice(1).map((now, place) => {
      const before = this.#readings[place];
      const seconds = Math.max(0.001, (now.time - before.time) / 1000);
      const rate = (outcome) => Math.max(0, now.total[outcome] - before.total[outcome]) / seconds;
      return {
        time: now.time,
        accepted: rate("accepted"),
        rejected: rate("rejected"),
        failed: rate("failed"),
      };
    });
  }

  /** How providers answered over `overMs` up to each reading: `{ time, median, p95 }` in seconds. */
  latencies(providers, overMs) {
    let first = 0;
    return this.#readings.slice(1).map((now, place) => {
      while (first < place && this.#readings[first].time < now.time - overMs) {
        first += 1;
      }
      const before = this.#readings[first];
      const counts = gained(added(now.answers, providers), added(before.answers, providers));
      return { time: now.time, median: quantile(counts, 0.5), p95: quantile(counts, 0.95) };
    });
  }

  /** How often providers answered, and put off, over all that is kept. */
  gained(providers) {
    const [before, now] = [this.#readings[0], this.#readings.at(-1)].map((reading) => answers(reading, providers));
    return { answered: now.answered - before.answered, putOff: now.putOff - before.putOff };
  }
}

/** How often providers answered, and put off, since the relay started. */
export function answers({ byProvider }, providers) {
  const all = providers.map((provider) => byProvider.get(provider) ?? new Outcomes());
  const sum = (name) => all.reduce((sum, outcomes) => sum + outcomes[name], 0);
  return { answered: sum("answered"), putOff: sum("putOff") };
}

/** What is kept of a reading: not its thousand applications. */
function slim({ time, start, total, byProvider, answers }) {
  return { time, start, total, byProvider, answers };
}

/** The buckets of several providers as one. */
function added(answers, providers) {
  const all = new Map();
  for (const provider of providers) {
    for (const [bound, value] of answers.get(provider) ?? []) {
      all.set(bound, (all.get(bound) ?? 0) + value);
    }
  }
  return all;
}

/** `[bound, answers up to it]`, by rising bounds. */
function gained(now, before) {
  const buckets = [...now].sort(([left], [right]) => left - right);
  return buckets.map(([bound, value]) => [bound, value - (before.get(bound) ?? 0)]);
}

/** The time that so large a part of the answers did not exceed, as Prometheus estimates it. */
function quantile(counts, part) {
  const all = counts.at(-1)?.[1] ?? 0;
  if (all <= 0) {
    return undefined;
  }
  const wanted = part * all;
  const place = counts.findIndex(([, value]) => value >= wanted);
  const [bound, value] = counts[place];
  const [low, below] = place > 0 ? counts[place - 1] : [0, 0];
  if (bound === Infinity) {
    return low;
  }
  return low + ((bound - low) * (wanted - below)) / Math.max(1e-9, value - below);
}
