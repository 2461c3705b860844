// Events in words, newest first. They are read out, all that came together at once.

import {find, make, put, reconcile, stamp} from "./dom.js";
import {visible} from "./words.js";

const SHOWN = 100;
const BREATH = 4000;  // ms between two readings, as a fleet that starts has many events at once.
const READ = 3;

/** An item of a list of events. */
export function entry() {
  const item = make("li");
  item.append(make("time"), " ", make("span"));
  return item;
}

export function fill(item, at, text) {
  stamp(find("time", item), at);
  put(find("span", item), visible(text));
}

export class News {
  constructor() {
    this.shown = [];
    this.unread = [];
    this.reading = null;
  }

  /** Add an event, `old` if from before this page was opened; returns whether it is new here. */
  add(news, old) {
    // A stream that reconnects repeats events.
    if (this.shown.some(({id}) => id === news.id)) return false;
    this.shown = [news, ...this.shown].sort((one, other) => other.id - one.id).slice(0, SHOWN);
    reconcile(
      find("#news"), this.shown, ({id}) => id, entry,
      (item, {at, text}) => fill(item, at, text),
    );
    if (!old) this.say(news.text);
    return true;
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
