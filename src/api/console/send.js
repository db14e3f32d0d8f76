// The form that sends a test message, and the answer as it came.

import { advise } from "./advice.js";
import { element, setClass, setSentence, setText } from "./dom.js";
import { count } from "./words.js";

/** The headers of an answer that tell something. */
const HEADERS = ["apns-id", "Retry-After", "X-Request-Id"];

export class TestForm {
  /** `ask` calls the relay; `onAnswer` hears that something was sent. */
  constructor(ask, onAnswer) {
    this.ask = ask;
    this.onAnswer = onAnswer;
    this.form = document.getElementById("test");
    this.names = document.getElementById("application-names");
    this.button = document.getElementById("test-send");
    this.answer = document.getElementById("answer");
    this.verdict = document.getElementById("answer-verdict");
    this.advice = document.getElementById("answer-advice");
    this.facts = document.getElementById("answer-facts");
    this.body = document.getElementById("answer-body");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
  }

  /** The applications that can be chosen. */
  offer(ids) {
    const all = ids.join("\n");
    if (this.names.dataset.all === all) {
      return;
    }
    this.names.dataset.all = all;
    this.names.replaceChildren(
      ...ids.map((id) => {
        const option = element("option");
        option.value = id;
        return option;
      }),
    );
    const field = this.form.elements.application_id;
    if (ids.length === 1 && field.value === "") {
      field.value = ids[0];
    }
  }

  /** Fills an application in and goes to the first field that is still empty. */
  choose(id) {
    this.form.elements.application_id.value = id;
    this.form.scrollIntoView({ block: "start" });
    this.form.elements.device_token.focus({ preventScroll: true });
  }

  async #send() {
    if (this.button.getAttribute("aria-disabled") === "true") {
      return;
    }
    const fields = new URLSearchParams();
    for (const [name, value] of new FormData(this.form)) {
      if (value !== "") {
        fields.append(name, value);
      }
    }
    // Not `disabled`: that would take the focus away from who works with the keyboard.
    this.button.setAttribute("aria-disabled", "true");
    this.#show("busy", "Sending …", "", [], "");
    const start = performance.now();
    try {
      // The default mode, `cors`: in another one the page's referrer policy makes the Origin null
      // (Fetch, "append a request Origin header"), which the relay refuses.
      const response = await this.ask("send_notification", { method: "POST", body: fields });
      const text = await response.text();
      this.#told(response, text, performance.now() - start);
    } catch (error) {
      const sentence = "The relay did not answer, so nothing is known of the message.";
      this.#show("bad", sentence, "Look at the state at the top of this page.", [["error", String(error)]], "");
    }
    this.button.removeAttribute("aria-disabled");
    this.onAnswer();
  }

  #told(response, text, tookMs) {
    const facts = [["status", `${response.status} ${response.statusText}`.trim()]];
    for (const name of HEADERS) {
      const value = response.headers.get(name);
      if (value !== null) {
        facts.push([name, value]);
      }
    }
    facts.push(["time", `${count(tookMs)} ms`]);
    const { level, sentence, advice } = verdict(response, text);
    this.#show(level, sentence, advice, facts, text);
  }

  #show(level, sentence, advice, facts, body) {
    setClass(this.answer, `answer ${level}`);
    setText(this.verdict, sentence);
    setSentence(this.advice, advice);
    this.facts.replaceChildren(
      ...facts.map(([name, value]) => element("div", "", element("dt", "", name), element("dd", "", value))),
    );
    this.facts.hidden = facts.length === 0;
    setSentence(this.body, body);
    this.answer.scrollIntoView({ block: "nearest" });
  }
}

/** What an answer means: by its body first, since `compat.always_200` has errors under 200. */
function verdict(response, text) {
  const body = object(text);
  if (typeof body.error === "string") {
    const isGoogle = body.error.includes("gcm");
    const provider = isGoogle ? "gcm" : "apns";
    const about = { provider, reason: body.reason, error: body.error };
    const isProviders = body.reason !== undefined || /^(apns|gcm)_|token_unregistered|gcm_credentials/.test(body.error);
    const sentence = typeof body.message === "string" ? body.message : body.error;
    return { level: "bad", sentence: `Not accepted: ${sentence}`, advice: isProviders ? advise(about) : "" };
  }
  const rows = Array.isArray(body.results) ? body.results : [];
  const failed = rows.find((row) => typeof row?.error === "string");
  if (failed !== undefined) {
    const unknown = failed.delivery === "unknown" ? " It may have reached the phone all the same." : "";
    return {
      level: "bad",
      sentence: `Not accepted by Google: ${failed.error}.${unknown}`,
      advice: advise({ provider: "gcm", reason: failed.error }),
    };
  }
  if (!response.ok) {
    return { level: "bad", sentence: `The relay answered ${response.status}, which is no success.`, advice: "" };
  }
  const who = rows.length > 0 ? "Google" : "Apple";
  const advice = "Whether the phone shows it, nobody tells: it may be off, or the person may have switched notifications off.";
  return { level: "good", sentence: `Accepted by ${who}.`, advice };
}

function object(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
