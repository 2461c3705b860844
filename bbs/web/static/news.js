// Events in words, newest first; and read out, but in one breath for all that came together.

import {find, keep, make, put, stamp} from "./dom.js";
import {visible} from "./words.js";

const SHOWN = 100;
const BREATH = 4000;  // ms between two readings: a fleet that starts has many events at once.
const READ = 3;

/** An item of a list of what happened. */
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

  /** An event; `old` ones happened before this page was opened. Whether it was not known yet. */
  add(news, old) {
    // A stream that begins anew says again what has been said.
    if (this.shown.some(({id}) => id === news.id)) return false;
    this.shown = [news, ...this.shown].sort((one, other) => other.id - one.id).slice(0, SHOWN);
    keep(
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
