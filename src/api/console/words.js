// Numbers, times and spans as people read them.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const FINE = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const DAY = new Intl.DateTimeFormat("en", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** A number that is counted; a dash where there is none. */
export function count(number) {
  return number === undefined || Number.isNaN(number) ? "–" : WHOLE.format(number);
}

export function perSecond(number) {
  return number === undefined ? "–" : `${FINE.format(number)} /s`;
}

/** A short span, given in seconds. */
export function latency(seconds) {
  if (seconds === undefined) {
    return "–";
  }
  return seconds < 1 ? `${FINE.format(seconds * 1000)} ms` : `${FINE.format(seconds)} s`;
}

/** A long span, given in seconds: its two largest parts. */
export function span(seconds) {
  const parts = [
    [Math.floor(seconds / 86400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [Math.floor(seconds) % 60, "s"],
  ];
  const first = parts.findIndex(([number]) => number > 0);
  if (first < 0) {
    return "0 s";
  }
  return parts
    .slice(first, first + 2)
    .filter(([number]) => number > 0)
    .map(([number, unit]) => `${number} ${unit}`)
    .join(" ");
}

/** How long ago something was, both in milliseconds since 1970. */
export function ago(time, now) {
  const seconds = Math.max(0, (now - time) / 1000);
  if (seconds < 1) {
    return "just now";
  }
  return `${span(seconds >= 60 ? seconds - (seconds % 60) : seconds)} ago`;
}

export function day(time) {
  return DAY.format(new Date(time));
}

export function clock(time) {
  return CLOCK.format(new Date(time));
}

/** `2 days left`, `runs out today`, `ran out 3 days ago`. */
export function daysLeft(days) {
  const whole = Math.floor(days);
  if (whole < 0) {
    return `ran out ${plural(-whole, "day")} ago`;
  }
  return whole === 0 ? "runs out today" : `${plural(whole, "day")} left`;
}

/** The same with a capital at its start. */
export function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function plural(number, word) {
  return `${count(number)} ${word}${number === 1 ? "" : "s"}`;
}

/** `a`, `a and b`, `a, b and 3 more`. */
export function list(names, most = 3) {
  const shown = names.slice(0, names.length > most ? most - 1 : most);
  const rest = names.length - shown.length;
  const last = rest > 0 ? `${count(rest)} more` : shown.pop();
  return shown.length > 0 ? `${shown.join(", ")} and ${last}` : (last ?? "");
}
