// The applications: what each is, what is wrong with it, and its numbers.

import { advise, nameOf } from "./advice.js";
import { arrange, element, setClass, setSentence, setText } from "./dom.js";
import { METRICS, selector } from "./readings.js";
import { ago, capital, count, day, daysLeft, plural } from "./words.js";

/** How many are shown until somebody wants more. */
const SHOWN = 50;

/** What comes first; of those that are bad, what fails now comes before what is going to. */
const RANKS = { bad: 1, warn: 2, note: 3, good: 4, idle: 5 };

function rank({ level, isFailing }) {
  return isFailing ? 0 : RANKS[level];
}

/** Whether the last thing that happened to an application was its failure. */
function failsNow({ last_failure, last_success }) {
  return last_failure !== undefined && !(Date.parse(last_success) > Date.parse(last_failure.at));
}

/** The name under which all are counted who send with a `gcm_api_key` and no application. */
export const KEYS = "(gcm_api_key)";

const REFUSALS = ["apns_credentials_rejected", "invalid_gcm_credentials"];

/** Whether the provider refuses the credential of an application as far as is known. */
export function isRefused(application) {
  if (application.application_id === KEYS) {
    return false;
  }
  const isLast = failsNow(application) && REFUSALS.includes(application.last_failure.error);
  return application.circuit === "credentials" || isLast;
}

/** Whether the last message of an application got no answer, or none of the provider's. */
export function isUnanswered(application) {
  if (application.circuit === "unreachable") {
    return true;
  }
  if (!failsNow(application) || application.last_failure.outcome === "rejected") {
    return false;
  }
  const { status, error = "" } = application.last_failure;
  return error.endsWith("_protocol_error") || (status === undefined && error !== "overloaded");
}

/** How an application fares: a level, a word for it and a sentence. */
export function judge(application, days) {
  const { last_failure: failure, warnings = [] } = application;
  const provider = failure?.provider ?? "apns";
  const name = nameOf(provider);
  if (application.state === "unusable") {
    return { level: "bad", isFailing: true, word: "Cannot be used", sentence: "" };
  }
  if (isRefused(application)) {
    const refusal = failure ?? { provider, error: "apns_credentials_rejected" };
    return { level: "bad", isFailing: true, word: `Refused by ${name}`, sentence: advise(refusal) };
  }
  if (days < 0) {
    return { level: "bad", isFailing: true, word: "Certificate ran out", sentence: "" };
  }
  if (isUnanswered(application)) {
    const silence = failure ?? { provider, error: "apns_unavailable" };
    return { level: "bad", isFailing: true, word: `No answer from ${name}`, sentence: advise(silence) };
  }
  if (days <= 30) {
    return { level: days <= 7 ? "bad" : "warn", word: capital(daysLeft(days)), sentence: "" };
  }
  if (warnings.length > 0) {
    return { level: "warn", word: "Warning", sentence: "" };
  }
  if (failsNow(application) && REFUSALS.includes(failure.error)) {
    const sentence = "A key that came with a call is not valid. Give it a service account in [[gcm.bridge]], or tell its owner.";
    return { level: "warn", word: "A key was refused", sentence };
  }
  if (failsNow(application)) {
    const isFinal = failure.outcome === "rejected";
    return { level: "note", word: isFinal ? "Last message refused" : "Last message not sent", sentence: "" };
  }
  if (application.last_success === undefined) {
    return { level: "idle", word: "Nothing sent yet", sentence: "" };
  }
  return { level: "good", word: "Good", sentence: "" };
}

/** Those that need a person first, then those whose certificate runs out sooner, then by name. */
export function sorted(judged) {
  return judged.toSorted(
    (left, right) =>
      rank(left.verdict) - rank(right.verdict) ||
      (left.days ?? Infinity) - (right.days ?? Infinity) ||
      (left.application.application_id < right.application.application_id ? -1 : 1),
  );
}

/** The list, its filter and its button. */
export class Applications {
  #cards = new Map();
  #all = [];
  #most = SHOWN;

  /** `onTest` is told the application that somebody wants to try. */
  constructor(onTest) {
    this.list = document.getElementById("application-list");
    this.filter = document.getElementById("filter");
    this.summary = document.getElementById("application-count");
    this.more = document.getElementById("more-applications");
    this.onTest = onTest;
    this.filter.addEventListener("input", () => {
      this.#most = SHOWN;
      this.#show();
    });
    this.more.addEventListener("click", () => {
      const first = this.#cards.size;
      this.#most += SHOWN;
      this.#show();
      this.list.children[first]?.querySelector("button")?.focus();
    });
  }

  /** `judged`: `[{ application, days, verdict }]`, sorted. */
  update(judged, reading, now) {
    this.#all = judged;
    this.reading = reading;
    this.now = now;
    this.#show();
  }

  #show() {
    const wanted = this.filter.value.trim().toLowerCase();
    const found = this.#all.filter(({ application, verdict }) => {
      const topics = application.topics ?? [];
      const texts = [application.application_id, verdict.word, application.fcm_project ?? "", ...topics];
      return texts.some((text) => text.toLowerCase().includes(wanted));
    });
    const shown = found.slice(0, this.#most);
    const keys = shown.map(({ application }) => application.application_id);
    arrange(this.list, this.#cards, keys, (id) => new Card(id, this.onTest));
    for (const one of shown) {
      this.#cards.get(one.application.application_id).update(one, this.reading, this.now);
    }
    const needy = this.#all.filter(({ verdict }) => rank(verdict) <= RANKS.warn).length;
    const parts = [plural(this.#all.length, "application")];
    parts.push(needy === 0 ? "none needs you" : `${count(needy)} need${needy === 1 ? "s" : ""} you`);
    if (wanted !== "") {
      parts.push(`${count(found.length)} found`);
    }
    if (shown.length < found.length) {
      parts.push(`${count(shown.length)} shown`);
    }
    setText(this.summary, this.#all.length === 0 ? "No application is registered." : parts.join(", "));
    this.more.hidden = shown.length >= found.length;
  }
}

const NUMBERS = ["accepted", "rejected", "failed", "in flight", "connections", "days left"];

class Card {
  constructor(id, onTest) {
    this.badge = element("span", "badge");
    this.sentence = element("p", "sentence");
    this.facts = element("p", "muted");
    this.warnings = element("ul", "warnings");
    this.last = element("p", "muted");
    this.numbers = new Map();
    const numbers = element("dl", "numbers");
    for (const name of NUMBERS) {
      const value = element("dd", "", "–");
      numbers.append(element("div", "", element("dt", "", name), value));
      this.numbers.set(name, value);
    }
    const side = element("div", "card-side", numbers);
    if (id !== KEYS) {
      const test = element("button", "quiet", "Send a test");
      test.type = "button";
      test.setAttribute("aria-label", `Send a test through ${id}`);
      test.addEventListener("click", () => onTest(id));
      side.append(test);
    }
    const heading = element("h3", "", id);
    const head = element("div", "card-head", heading, this.badge);
    const text = element("div", "card-text", head, this.sentence, this.warnings, this.facts, this.last);
    this.node = element("li", "card", text, side);
    this.node.dataset.application = id;
  }

  update({ application, verdict }, reading, now) {
    const id = application.application_id;
    setText(this.badge, verdict.word);
    setClass(this.badge, `badge ${verdict.level}`);
    setClass(this.node, `card ${verdict.level}`);
    setSentence(this.sentence, verdict.sentence);
    setText(this.facts, facts(application));
    const warnings = application.warnings ?? [];
    if (this.warnings.dataset.all !== JSON.stringify(warnings)) {
      this.warnings.dataset.all = JSON.stringify(warnings);
      this.warnings.replaceChildren(...warnings.map((text) => element("li", "", text)));
      this.warnings.hidden = warnings.length === 0;
    }
    setText(this.last, last(application, now));
    const sends = reading.byApplication.get(id);
    for (const outcome of ["accepted", "rejected", "failed"]) {
      this.#number(outcome, sends?.[outcome] ?? 0, selector(outcome, id));
    }
    this.#gauge("in flight", METRICS.inFlight, id, reading);
    this.#gauge("connections", METRICS.connections, id, reading);
    this.#gauge("days left", METRICS.expiry, id, reading);
  }

  #gauge(name, metric, id, reading) {
    this.#number(name, reading.gauge(metric, id), `${metric}{application="${id}"}`);
  }

  #number(name, value, metric) {
    const node = this.numbers.get(name);
    setText(node, count(value));
    node.dataset.metric = metric;
    setClass(node, value ? "" : "zero");
  }
}

/** What it is: `Apple: com.example.shop in production, certificate until 3 Jan 2027`. */
function facts({ application_id, topics = [], environment, credential, not_after, fcm_project }) {
  const parts = application_id === KEYS ? ["Google: all who send with a gcm_api_key and no application"] : [];
  if (credential !== undefined) {
    const where = [topics.join(", "), environment].filter((part) => part).join(" in ");
    const until = not_after === undefined ? "" : ` until ${day(Date.parse(not_after))}`;
    parts.push(`Apple: ${where}, ${credential === "token" ? "signing key" : `certificate${until}`}`);
  }
  if (fcm_project !== undefined) {
    parts.push(`Google: project ${fcm_project}`);
  }
  return parts.join(" · ");
}

/** `Last accepted 3 min ago · last failure 2 s ago, BadDeviceToken`. */
function last({ last_success, last_failure }, now) {
  const parts = [];
  if (last_success !== undefined) {
    parts.push(`last accepted ${ago(Date.parse(last_success), now)}`);
  }
  if (last_failure !== undefined) {
    const what = last_failure.reason ?? last_failure.error ?? last_failure.outcome;
    parts.push(`last failure ${ago(Date.parse(last_failure.at), now)}: ${what}`);
  }
  return capital(parts.join(" · "));
}
