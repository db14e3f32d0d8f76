// The console: it asks the relay every two seconds while somebody looks, and shows what it says.

import { Applications, KEYS, judge, sorted } from "./applications.js";
import { Chart } from "./chart.js";
import { setClass, setText } from "./dom.js";
import { Failures, newest } from "./failures.js";
import { showOverview, title } from "./overview.js";
import { History, METRICS, Reading, selector } from "./readings.js";
import { TestForm } from "./send.js";
import { clock, count, latency, perSecond, span } from "./words.js";

const PERIOD_MS = 2_000;
/** A relay that takes long to tell, having much to tell, is busy with it for a tenth of the time. */
const PERIOD_PER_READ = 10;
/** The longest pause between two tries while the relay does not answer. */
const LONGEST_PAUSE_MS = 30_000;
/** A relay that takes longer than this does not answer. */
const PATIENCE_MS = 10_000;
const KEPT_MS = 5 * 60_000;
/** Over how long latencies are taken together. */
const LATENCY_OVER_MS = 30_000;

const history = new History(KEPT_MS);
const testForm = new TestForm(ask, readSoon);
const applications = new Applications((id) => testForm.choose(id));
const failures = new Failures();
const rateChart = new Chart(document.getElementById("rates"), {
  name: "Sends per second",
  format: perSecond,
  lines: [
    { key: "accepted", name: "accepted" },
    { key: "rejected", name: "rejected" },
    { key: "failed", name: "failed" },
  ],
});
const latencyChart = new Chart(document.getElementById("latencies"), {
  name: "Time to the answer",
  format: latency,
  lines: [
    { key: "appleMedian", name: "Apple, median" },
    { key: "appleP95", name: "Apple, 95 %" },
    { key: "googleMedian", name: "Google, median" },
    { key: "googleP95", name: "Google, 95 %" },
  ],
});

let timer;
let isReading = false;
let misses = 0;
let lastAnswer;
let lastState;

/** A call to the relay beside this page, without the name and password that its URL may have. */
function ask(path, options) {
  const url = new URL(path, document.baseURI);
  url.username = "";
  url.password = "";
  return fetch(url, { cache: "no-store", ...options });
}

async function get(path, signal) {
  const response = await ask(path, { signal });
  const text = await response.text();
  if (!response.ok) {
    throw new Refused(`it answered ${response.status}${sentenceOf(text)}`);
  }
  return text;
}

/** Shows what was read. What the page cannot read must not pass for silence. */
function understand(status, metrics) {
  try {
    show(JSON.parse(status), new Reading(metrics, performance.now()));
  } catch (error) {
    console.error(error);
    throw new Refused("this page cannot read its answer; reload the page, and look for a proxy in between");
  }
}

/** The relay's own sentence, if it is one of the relay. */
function sentenceOf(text) {
  try {
    const { message } = JSON.parse(text);
    return typeof message === "string" ? `: ${message}` : "";
  } catch {
    return "";
  }
}

/** Somebody answered, but not with what was asked for. */
class Refused extends Error {}

async function read() {
  clearTimeout(timer);
  if (isReading) {
    return;
  }
  isReading = true;
  const start = performance.now();
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const [status, metrics] = await Promise.all([get("status", signal), get("metrics", signal)]);
    understand(status, metrics);
    misses = 0;
    lastAnswer = Date.now();
  } catch (error) {
    misses += 1;
    showTrouble(error);
  }
  isReading = false;
  if (!document.hidden) {
    const slowly = (performance.now() - start) * PERIOD_PER_READ;
    timer = setTimeout(read, misses === 0 ? Math.min(LONGEST_PAUSE_MS, Math.max(PERIOD_MS, slowly)) : backoff());
  }
}

/** The pause after so many tries in vain. */
function backoff() {
  return Math.min(LONGEST_PAUSE_MS, PERIOD_MS * 2 ** (misses - 1));
}

function readSoon() {
  misses = 0;
  read();
}

function show(status, reading) {
  history.add(reading);
  const now = Date.parse(status.started_at) + status.uptime_seconds * 1000;
  const all = everybody(status);
  const judged = sorted(
    all.map((application) => {
      const days = reading.gauge(METRICS.expiry, application.application_id);
      return { application, days, verdict: judge(application, days) };
    }),
  );
  const last = newest(all);
  showState(status);
  showOverview({ judged, failures: last, reading, history, now });
  showNow(reading);
  applications.update(judged, reading, now);
  failures.update(last, reading, now);
  testForm.offer(status.applications.map(({ application_id }) => application_id));
  document.title = title(judged, status.state);
  document.getElementById("main").dataset.readings = history.taken;
}

/** The applications, and those who send without one. */
function everybody({ applications, gcm_api_key }) {
  return gcm_api_key === undefined
    ? applications
    : [...applications, { application_id: KEYS, providers: ["gcm"], ...gcm_api_key }];
}

function showState({ state, version, uptime_seconds }) {
  lastState = state;
  const node = document.getElementById("state");
  const isReady = state === "ready";
  const text = state === "draining" ? "Draining: it stops after what is in flight" : state;
  setText(node, isReady ? "Ready" : text);
  setClass(node, `badge ${isReady ? "good" : "warn"}`);
  const about = `version ${version} · up ${span(uptime_seconds)} · read ${clock(Date.now())}`;
  setText(document.getElementById("about"), about);
  document.getElementById("trouble").hidden = true;
  document.body.classList.remove("stale");
}

function showNow(reading) {
  for (const node of document.querySelectorAll("#totals dd")) {
    const { outcome, gauge } = node.dataset;
    const metric = METRICS[gauge ?? "sends"];
    const value = outcome === undefined ? reading.sum(metric) : reading.total[outcome];
    setText(node, count(value));
    node.dataset.metric = outcome === undefined ? metric : selector(outcome);
  }
  const now = reading.time;
  rateChart.draw(history.rates(), now);
  const apple = history.latencies(["apns"], LATENCY_OVER_MS);
  const google = history.latencies(["fcm", "gcm"], LATENCY_OVER_MS);
  const points = apple.map(({ time, median, p95 }, place) => ({
    time,
    appleMedian: median,
    appleP95: p95,
    googleMedian: google[place].median,
    googleP95: google[place].p95,
  }));
  latencyChart.draw(points, now);
}

/** Why nothing came, in words that are not the browser's. */
function silence({ name }) {
  const how = name === "TimeoutError" ? `it took over ${PATIENCE_MS / 1000} s` : "no connection, or it was lost";
  return `The relay does not answer: ${how}.`;
}

function showTrouble(error) {
  const isRefused = error instanceof Refused;
  const was = lastState === "draining" ? " It was draining when it was last heard, so it has been stopped." : "";
  const since = lastAnswer === undefined ? "" : ` What follows is from ${clock(lastAnswer)}.`;
  const what = isRefused ? `The relay does not tell: ${error.message}.` : silence(error);
  setText(document.getElementById("trouble-text"), `${what}${was}${since}`);
  setText(document.getElementById("trouble-next"), `Asking again in ${span(backoff() / 1000)}.`);
  document.getElementById("trouble").hidden = false;
  const node = document.getElementById("state");
  setText(node, isRefused ? "Does not tell" : "Does not answer");
  setClass(node, "badge bad");
  document.body.classList.add("stale");
  document.title = `${node.textContent} – Pushlet`;
}

document.getElementById("ask-again").addEventListener("click", readSoon);
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(timer);
  } else {
    readSoon();
  }
});
read();
