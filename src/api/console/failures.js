// Why sends failed: the last failure of each application, and all reasons since the start.

import { advise, nameOf } from "./advice.js";
import { arrange, element, setSentence, setText } from "./dom.js";
import { METRICS } from "./readings.js";
import { ago, count } from "./words.js";

/** How many are shown until somebody wants more. */
const SHOWN = 10;

/** What an outcome is called here. */
const OUTCOMES = {
  abandoned: "its caller hung up before the answer",
  failed_not_sent: "not sent, safe to repeat",
  rejected: "rejected",
  unknown: "no answer, may have arrived",
};
const ABANDONED = "Whoever called the relay did not wait for the answer. Let callers wait longer than the relay's timeout.";

/** `BadDeviceToken`, or the code where there is no reason. */
export function reasonOf(failure) {
  return failure.reason || failure.error || failure.outcome;
}

/** The last failures, newest first: `[{ id, failure }]`. */
export function newest(applications) {
  return applications
    .filter(({ last_failure }) => last_failure !== undefined)
    .map(({ application_id, last_failure }) => ({ id: application_id, failure: last_failure }))
    .sort((left, right) => Date.parse(right.failure.at) - Date.parse(left.failure.at));
}

export class Failures {
  #last = new Map();
  #reasons = new Map();
  #most = SHOWN;

  constructor() {
    this.lastList = document.getElementById("failure-list");
    this.reasonList = document.getElementById("reason-list");
    this.none = document.getElementById("no-failures");
    this.noReasons = document.getElementById("no-reasons");
    this.more = document.getElementById("more-failures");
    this.more.addEventListener("click", () => {
      this.#most += SHOWN;
      this.update(...this.shown);
    });
  }

  update(failures, reading, now) {
    this.shown = [failures, reading, now];
    const some = failures.slice(0, this.#most);
    const byId = new Map(some.map((one) => [one.id, one]));
    arrange(this.lastList, this.#last, [...byId.keys()], (id) => new LastFailure(id));
    byId.forEach(({ failure }, id) => this.#last.get(id).update(failure, now));
    this.none.hidden = failures.length > 0;
    this.more.hidden = some.length >= failures.length;

    const reasons = [...reading.reasons].sort(([, left], [, right]) => right.value - left.value);
    const keys = reasons.map(([key]) => key);
    arrange(this.reasonList, this.#reasons, keys, (key) => new Reason(reading.reasons.get(key)));
    reasons.forEach(([key, { value }]) => this.#reasons.get(key).update(value));
    this.noReasons.hidden = reasons.length > 0;
  }
}

class LastFailure {
  constructor(id) {
    this.heading = element("h4", "");
    this.time = element("span", "muted");
    this.facts = element("p", "muted");
    this.told = element("p", "told");
    this.advice = element("p", "advice");
    const head = element("div", "card-head", element("strong", "", id), this.heading, this.time);
    this.node = element("li", "card", head, this.advice, this.told, this.facts);
    this.node.dataset.application = id;
  }

  update(failure, now) {
    setText(this.heading, reasonOf(failure));
    setText(this.time, ago(Date.parse(failure.at), now));
    setText(this.advice, advise(failure));
    setSentence(this.told, failure.message ? `The relay said: ${failure.message}` : "");
    const parts = [nameOf(failure.provider)];
    if (failure.status !== undefined) {
      parts.push(`status ${failure.status}`);
    }
    parts.push(OUTCOMES[failure.outcome] ?? failure.outcome);
    if (failure.error) {
      parts.push(failure.error);
    }
    setText(this.facts, parts.join(" · "));
  }
}

class Reason {
  constructor({ provider, reason, outcome }) {
    this.value = element("strong", "count");
    this.value.dataset.metric = `${METRICS.sends}{outcome="${outcome}",provider="${provider}",reason="${reason}"}`;
    const name = reason || outcome;
    const what = `${nameOf(provider)}, ${OUTCOMES[outcome] ?? outcome}`;
    const head = element("div", "card-head", this.value, element("h4", "", name), element("span", "muted", what));
    const advice = outcome === "abandoned" ? ABANDONED : advise({ provider, reason });
    this.node = element("li", "card", head, element("p", "advice", advice));
  }

  update(value) {
    setText(this.value, count(value));
  }
}
