// Writes numbers, times and other people's text as text of the page.

const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit",
});
const day = new Intl.DateTimeFormat("en-GB", {day: "numeric", month: "short"});
const date = new Intl.DateTimeFormat("en-GB", {day: "numeric", month: "short", year: "numeric"});
const UNITS = [["d", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]];

export const NOTHING = "–";

/** A time in the reader's time zone, with the day if that is not today, and the year if needed. */
export function time(epoch) {
  const at = new Date(epoch * 1000);
  const now = new Date();
  const text = clock.format(at);
  if (at.toDateString() === now.toDateString()) return text;
  return `${(at.getFullYear() === now.getFullYear() ? day : date).format(at)} ${text}`;
}

/** Seconds for people: "12 ms", "2.1 s", "3 min 12 s". */
export function duration(seconds) {
  if (seconds === null) return NOTHING;
  if (seconds > 0 && seconds < 0.9995) {
    const ms = seconds * 1000;
    return `${ms < 9.95 ? ms.toFixed(1) : Math.round(ms)} ms`;
  }
  if (seconds < 9.95 && !Number.isInteger(seconds)) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  for (const [unit, size, smaller, part] of UNITS) {
    if (whole < size) continue;
    const rest = Math.floor((whole % size) / part);
    return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${smaller}` : ""}`;
  }
  return `${whole} s`;
}

/** A number of bytes: "312 GiB". */
export function size(bytes) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log2(bytes || 1) / 10)));
  return `${number(bytes / 1024 ** power)} ${units[power]}`;
}

/** A number with as many digits as make sense. */
export function number(value) {
  if (value === null) return NOTHING;
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return value.toLocaleString("en", {maximumFractionDigits: Math.abs(value) < 10 ? 1 : 0});
}

/** "1 person", "2 people". */
export function counted(count, one, many) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/** The name of a counter in words. */
export const spoken = (counter) => counter.replaceAll("_", " ");

/** The beginning of an id, which is enough to recognize a server; events use the same. */
export const short = (id) => id.slice(0, 8);

// As in `bbs/core/characters.py`: what is invisible, ends a line or turns the direction of writing.
// First what stays: visible formats, and what emoji need.
const UNPRINTABLE = new RegExp(
  "(?![\\u0600-\\u0605\\u06dd\\u070f\\u0890\\u0891\\u08e2\\u{110bd}\\u{110cd}" +
  "\\u200c\\u200d\\ufe0e\\ufe0f])" +
  "[\\p{Cc}\\p{Cf}\\p{Cs}\\p{Zl}\\p{Zp}\\p{Default_Ignorable_Code_Point}" +
  "\\u2800\\u{16fe4}\\u{1d159}\\u{13441}\\u{13442}]", "gu",
);

/** Somebody else's text, with an escape for each character that is not printable. */
export function visible(text) {
  return String(text).replace(UNPRINTABLE, (found) => {
    const code = found.codePointAt(0).toString(16);
    if (code.length > 4) return `\\U${code.padStart(8, "0")}`;
    return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
  });
}
