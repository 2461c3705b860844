// Events in words, newest first. They are read out, all that came together at once.

import {copy, draw, find, mark, put, reconcile, stamp} from "./dom.js";
import {short, visible} from "./words.js";

const SHOWN = 100;
const BREATH = 4000;  // ms between two readings, as a fleet that starts has many events at once.
const READ = 3;

// The shape and the colour of each kind of event.
const LOOKS = {
  launching: ["launching", "work"], warm: ["warm", "rest"], ready: ["ready", "good"],
  kept: ["ready", "good"], draining: ["draining", "warn"], gone: ["gone", "plain"],
  failed: ["lost", "bad"], lost: ["lost", "bad"],
  "launch-asked": ["asked", "work"], "drain-asked": ["asked", "work"],
  "replace-asked": ["asked", "work"], "replace-cancelled": ["asked", "work"],
  "people-wait": ["attention", "warn"], "nobody-waits": ["well", "good"],
  "launches-refused": ["alarm", "bad"], "launches-accepted": ["well", "good"],
  "database-away": ["alarm", "bad"], "database-back": ["well", "good"],
  "broker-away": ["attention", "warn"], "broker-back": ["well", "good"],
  act: ["asked", "work"],
};
const OTHER = ["gone", "plain"];  // Of an event of another version.
const SOON = 30;  // Seconds after the loss of a server in which another is launched for it.

/** An item of a list of events or actions. */
export const entry = () => copy("event");

export function fill(item, at, text, [shape, look] = OTHER) {
  draw(item, shape);
  mark(item, "class", look);
  stamp(find("time", item), at);
  put(find("span", item), visible(text));
}

/**
 * The events, newest first, as they are told: without what a later event of the same server says as
 * well, and with what took the place of a lost server.
 */
export function told(events) {
  const later = {launching: ["ready", "warm", "failed"], draining: ["gone"]};
  const seen = new Map();  // The kinds of later events, by server.
  const shown = [];
  const lost = new Set(events.filter(({kind}) => ["lost", "failed"].includes(kind))
    .map(({server}) => server));
  for (const event of events) {
    const {kind, server} = event;
    const kinds = seen.get(server) ?? new Set();
    const repeated = (later[kind] ?? []).some((each) => kinds.has(each));
    if (!repeated && !(kind === "gone" && lost.has(server))) shown.push(event);
    // With these another story of the server begins.
    seen.set(server, ["kept", "warm"].includes(kind) ? new Set([kind]) : kinds.add(kind));
  }
  return withReplacements(events, shown);
}

/** Say of each lost server which one took its place: the first of those launched soon after. */
function withReplacements(events, shown) {
  const of = (kind) => events.filter((event) => event.kind === kind);
  const servers = (kind) => new Set(of(kind).map(({server}) => server));
  const [ready, asked] = [servers("ready"), servers("launch-asked")];
  const fresh = of("launching").filter(({server}) => ready.has(server) && !asked.has(server))
    .reverse();
  const words = new Map();
  for (const {id, at} of of("lost").reverse()) {
    const next = fresh.findIndex((each) => each.id > id && each.at - at < SOON);
    if (next >= 0) words.set(id, ` and was replaced by ${short(fresh.splice(next, 1)[0].server)}.`);
  }
  return shown.map((event) => (words.has(event.id)
    ? {...event, text: event.text.replace(/\.$/, words.get(event.id))} : event));
}

export class News {
  constructor() {
    this.shown = [];
    this.acts = [];  // What operators did to things of the service: only operators see it.
    this.unread = [];
    this.reading = null;
  }

  /** Add an event, `old` if from before this page was opened; returns whether it is new here. */
  add(news, old) {
    // A stream that reconnects repeats events.
    if (this.shown.some(({id}) => id === news.id)) return false;
    this.shown = [news, ...this.shown].sort((one, other) => other.id - one.id).slice(0, SHOWN);
    this.draw();
    if (!old) this.say(news.text);
    return true;
  }

  /** Show these acts among the events. */
  showActs(acts) {
    this.acts = acts;
    this.draw();
  }

  draw() {
    const all = [...told(this.shown), ...this.acts].sort((one, other) => other.at - one.at);
    reconcile(
      find("#news"), this.acts.length ? all.slice(0, SHOWN) : told(this.shown), ({id}) => id, entry,
      (item, {at, text, kind}) => fill(item, at, text, LOOKS[kind]),
    );
  }

  say(text) {
    this.unread.push(visible(text));
    this.reading ??= setTimeout(() => {
      this.reading = null;
      const more = this.unread.length - READ;
      const read = this.unread.splice(0).slice(0, READ);
      if (more > 0) read.push(`And ${more} more.`);
      put(find("#spoken"), read.join(" "));
    }, BREATH);
  }
}
