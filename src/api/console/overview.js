// The four answers at the top: Apple, Google, the next certificate, the last failure.

import { advise, nameOf } from "./advice.js";
import { isRefused, isUnanswered } from "./applications.js";
import { setClass, setSentence, setText } from "./dom.js";
import { reasonOf } from "./failures.js";
import { METRICS, answers } from "./readings.js";
import { ago, capital, day, daysLeft, list, plural } from "./words.js";

/** Each service: its name in the metrics, its tile. */
const SERVICES = [
  { tile: "tile-apple", providers: ["apns"], has: (application) => application.providers.includes("apns") },
  {
    tile: "tile-google",
    providers: ["fcm", "gcm"],
    has: (application) => application.providers.some((provider) => provider !== "apns"),
  },
];

/** Shows all four. `judged` is sorted; `failures` are the newest first. */
export function showOverview({ judged, failures, reading, history, now }) {
  for (const service of SERVICES) {
    show(service.tile, providerVerdict(service, judged, reading, history, now));
  }
  show("tile-certificate", certificateVerdict(judged));
  show("tile-failure", failureVerdict(failures, judged, now));
}

function show(tile, { level, verdict, detail, metric }) {
  const node = document.getElementById(tile);
  setClass(node, `tile ${level}`);
  setText(node.querySelector(".verdict"), verdict);
  setSentence(node.querySelector(".detail"), detail);
  if (metric !== undefined) {
    node.querySelector(".verdict").dataset.metric = metric;
  }
}

/** Whether a service answers: by what the last minutes saw, else by the last that was heard. */
function providerVerdict({ providers, has }, judged, reading, history, now) {
  const own = judged.map(({ application }) => application).filter(has);
  const refused = own.filter((one) => isRefused(one) && isOf(one, providers)).map(idOf);
  const unanswered = own.filter((one) => isUnanswered(one) && isOf(one, providers)).map(idOf);
  const lately = history.gained(providers);
  const ever = answers(reading, providers);
  const refusal = refused.length > 0 ? `It refuses the credential of ${list(refused)}.` : "";

  if (unanswered.length > 0) {
    const detail = `No answer to the last message of ${list(unanswered)}. ${refusal}`.trim();
    return lately.answered > 0
      ? { level: "warn", verdict: "Answers, not always", detail }
      : { level: "bad", verdict: "Does not answer", detail };
  }
  if (refused.length > 0) {
    return { level: "bad", verdict: "Answers, and refuses", detail: refusal };
  }
  if (lately.putOff > lately.answered || (ever.putOff > 0 && ever.answered === 0)) {
    return { level: "warn", verdict: "Answers that it cannot now", detail: "Messages are put off. Send them again later." };
  }
  if (ever.answered > 0) {
    const verdict = lately.answered > 0 ? "Answers" : "Answered when last asked";
    return { level: "good", verdict, detail: lastAccepted(own, providers, now) };
  }
  if (own.length === 0) {
    return { level: "idle", verdict: "Not in use", detail: `No application sends through ${nameOf(providers[0])}.` };
  }
  return { level: "idle", verdict: "Not asked yet", detail: "Nothing was sent since the relay started." };
}

/** Whether what is wrong with an application is about these providers. Circuits are Apple's. */
function isOf({ circuit, last_failure }, providers) {
  const isOpen = circuit === "credentials" || circuit === "unreachable";
  return providers.includes(isOpen ? "apns" : last_failure?.provider);
}

function idOf({ application_id }) {
  return application_id;
}

/** By the applications that have no other provider: the status has one time for all of them. */
function lastAccepted(applications, providers, now) {
  const only = applications.filter((one) => one.providers.every((provider) => providers.includes(provider)));
  const times = only.map(({ last_success }) => Date.parse(last_success)).filter(Number.isFinite);
  return times.length > 0 ? `Last accepted a message ${ago(Math.max(...times), now)}.` : "";
}

function certificateVerdict(judged) {
  const dated = judged.filter(({ days }) => days !== undefined).sort((left, right) => left.days - right.days);
  if (dated.length === 0) {
    return { level: "idle", verdict: "None", detail: "No application has a certificate that runs out." };
  }
  const [{ application, days }, next] = dated;
  const level = days <= 7 ? "bad" : days <= 30 ? "warn" : "good";
  const until = application.not_after === undefined ? "" : `, ${day(Date.parse(application.not_after))}`;
  const after = next === undefined ? "" : ` Then ${next.application.application_id}, ${daysLeft(next.days)}.`;
  return {
    level,
    verdict: capital(daysLeft(days)),
    detail: `${application.application_id}${until}.${after}`,
    metric: `${METRICS.expiry}{application="${application.application_id}"}`,
  };
}

function failureVerdict(failures, judged, now) {
  if (failures.length === 0) {
    return { level: "good", verdict: "None", detail: "No send failed since the relay started." };
  }
  const [{ id, failure }] = failures;
  const owner = judged.find(({ application }) => application.application_id === id);
  const isStanding = isRefused(owner.application) || isUnanswered(owner.application);
  const detail = `${id}, ${ago(Date.parse(failure.at), now)}, by ${nameOf(failure.provider)}. ${advise(failure)}`;
  return { level: isStanding ? "bad" : "note", verdict: reasonOf(failure), detail };
}

/** The page's title: what needs a person is seen in a background tab too. */
export function title(judged, state) {
  const needy = judged.filter(({ verdict }) => ["bad", "warn"].includes(verdict.level)).length;
  if (state !== "ready") {
    return `${capital(state)} – Pushlet`;
  }
  return needy > 0 ? `${plural(needy, "application")} to look at – Pushlet` : "Pushlet";
}
