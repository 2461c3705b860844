// The figures: the present value of each, and a plot of its last hour.
//
// Each plot is an SVG path drawn here: a library would be most of the 100 KB that the whole page
// may have. An invisible range input lies over each plot: it moves through the hour by pointer,
// touch and arrow keys alike, and tells a screen reader where it is. All plots share one moment, so
// that the reader sees together what happened together.

import {copy, find, make, mark, put} from "./dom.js";
import {counted, duration, number, spoken, time} from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 40;

const sum = (values) => values.reduce((all, value) => all + value, 0);

/** The number of servers that run: some in the table are gone, or stopped as warm ones are. */
export const living = ({gone = 0, warm = 0, ...others}) => sum(Object.values(others));

// What the kinds of errors mean whose names do not say so.
const KINDS = {internal: " (a bug)", unavailable: " (no database, broker or place in time)"};

/** The errors that occurred, by kind. */
const kinds = (errors) => Object.entries(errors)
  .filter(([, count]) => count)
  .map(([kind, count]) => `${number(count)} ${kind.replaceAll("-", " ")}${KINDS[kind] ?? ""}`)
  .join(", ");

// The figure of a counter of the service.
const counter = (name) => {
  const title = `${spoken(name)} a second`;
  return {
    series: `${name}_per_second`, title: title[0].toUpperCase() + title.slice(1), read: number,
    now: ({counters}) => counters[name]?.per_second ?? null,
  };
};

/** The servers in words for people who do not know the states. */
const servers = ({states: {ready = 0, launching = 0, draining = 0, lost = 0, warm = 0}}) => [
  [ready, "open"], [launching, "starting"], [draining, "ending"], [lost, "lost"],
  [warm, "standing by"],
].filter(([count]) => count).map(([count, word]) => `${number(count)} ${word}`).join(", ");

// Each figure: the name of its series, how to write a value, the present value, a note, and what
// it is, where the title does not say so.
const FIRST = [
  {series: "people", title: "People", read: number, now: ({people}) => people,
    note: ({places}) => `of ${counted(places, "place", "places")}`},
  {series: "servers", title: "Servers", read: number, now: ({states}) => living(states),
    note: servers},
  {series: "free_places", title: "Free places", read: number, now: (state) => state.free_places,
    note: ({spare}) => `${number(spare)} or more are kept free`,
    means: "how many more people the servers take"},
  {series: "waiting", title: "People waiting", read: number, now: ({waiting}) => waiting.count,
    note: ({waiting: {count, longest}}) => (count && longest !== null
      ? `the first for ${duration(longest)}` : ""), means: "until a server takes them"},
];

const more = (counters) => [
  {series: "connected", title: "Connected", read: number, now: ({connected}) => connected,
    note: ({away}) => `${number(away)} away`, means: "people whose client listens; who is away is "
      + "logged in, and was idle for so long that others may have the place"},
  {series: "logins_per_minute", title: "Logins a minute", read: number,
    now: (state) => state.logins_per_minute},
  {series: "failed_logins_per_minute", title: "Failed logins a minute", read: number,
    now: (state) => state.failed_logins_per_minute, means: "wrong passwords"},
  {series: "errors_per_minute", title: "Errors a minute", read: number,
    now: ({errors_per_minute: errors}) => sum(Object.values(errors)),
    note: ({errors_per_minute: errors}) => kinds(errors),
    means: "requests that failed, and connections that were refused"},
  {series: "longest_wait", title: "Longest wait", read: duration,
    now: ({waiting}) => waiting.longest, means: "of those who wait for a place"},
  {series: "launches", title: "Launches", read: number,
    now: ({launches}) => launches.last_hour, note: () => "in the last hour",
    means: "servers that were started"},
  {series: "launch_seconds", title: "Time to launch", read: duration,
    now: ({launches}) => launches.usual, means: "until a new server takes people",
    note: ({launches}) => `${number(launches.under_way)} under way`},
  ...counters.map(counter),
  {series: "database_time", title: "Database time", read: duration,
    now: (state) => state.database_time,
    means: "until the database has answered this login server"},
  {series: "reactor_lag", title: "Reactor lag", read: duration, now: (state) => state.reactor_lag,
    means: "how late this login server gets to its work; from 0.5 s on people notice"},
];

/** The time of a sample in an hour. */
export function moment({end, step, series}, index) {
  const [samples] = Object.values(series);
  return time(end - (samples.length - 1 - index) * step);
}

/** The index of the first sample of an hour, so that plots of a young service begin there. */
export function beginning({series}) {
  const all = Object.values(series);
  const last = all[0].length - 1;
  const firsts = all.map((samples) => samples.findIndex((value) => value !== null));
  return Math.min(last - 1, ...firsts.filter((first) => first >= 0));
}

export class Figures {
  /** Make the first cards in `parent`, and the others in `others`, which names the counters of the
   *  service. */
  constructor(parent, others) {
    this.moment = null;  // The index of the sample that is looked at, null for none.
    this.history = null;
    this.plots = new Map();
    const counters = others.dataset.counters.split(" ").filter(Boolean);
    const cards = (list, figures) => figures.map((figure) => {
      const card = copy("figure");
      put(find("h3", card), figure.title);
      put(find(".means", card), figure.means ?? "");
      list.append(card);
      return {...figure, card};
    });
    this.cards = [...cards(parent, FIRST), ...cards(others, more(counters))];
  }

  /** Show a snapshot. */
  now(state) {
    for (const {card, read, now, note} of this.cards) {
      put(find("strong", card), read(now(state)));
      put(find(".note", card), note ? note(state) : "");
    }
  }

  /** Show a whole hour. */
  hour(history) {
    this.history = history;
    // Another version of the service may lack a counter.
    for (const name of this.plots.keys()) if (!(name in history.series)) this.plots.delete(name);
    for (const {series, title, card, read} of this.cards) {
      if (series in history.series && !this.plots.has(series)) {
        this.plots.set(series, new Plot(title, read, card, (moment) => this.look(moment)));
      }
    }
    this.draw();
  }

  /** Add a sample; missed samples have no value. */
  point({end, series}) {
    if (!this.history) return;
    const steps = Math.max(1, Math.round((end - this.history.end) / this.history.step));
    for (const [name, samples] of Object.entries(this.history.series)) {
      const missed = new Array(Math.min(steps, samples.length) - 1).fill(null);
      samples.push(...missed, series[name] ?? null);
      samples.splice(0, missed.length + 1);
    }
    this.history.end = end;
    if (this.moment !== null) this.moment = Math.max(0, this.moment - steps);
    this.draw();
  }

  /** Show one moment in all plots; null for none. */
  look(moment) {
    this.moment = moment;
    for (const [name, plot] of this.plots) {
      plot.look(this.history.series[name], moment, (index) => this.when(index));
    }
  }

  when(index) {
    return moment(this.history, index);
  }

  draw() {
    const first = beginning(this.history);
    for (const [name, plot] of this.plots) plot.draw(this.history.series[name], first);
    const whole = first <= 0 ? "in the last hour" : `since ${this.when(first)}`;
    put(find("#figures-title"), `Now, and ${whole}`);
    this.look(this.moment);
  }
}

/** A plot of one series in `card`; `look(moment)` is called for the moment a reader chooses. */
export class Plot {
  constructor(title, read, card, look) {
    this.read = read;
    this.range = find(".range", card);
    this.range.id = `range-${title.toLowerCase().replaceAll(/[^a-z0-9]+/g, "-")}`;
    this.svg = document.createElementNS(SVG, "svg");
    mark(this.svg, "preserveAspectRatio", "none");
    mark(this.svg, "aria-hidden", "true");
    this.area = this.shape("area");
    this.line = this.shape("line");
    this.dots = this.shape("dots");
    this.cursor = this.shape("cursor");
    this.input = make("input");
    this.input.type = "range";
    mark(this.input, "aria-label", `${title} over the last hour`);
    mark(this.input, "aria-describedby", this.range.id);
    find(".plot", card).append(this.svg, this.input);
    this.listen(look);
  }

  shape(name) {
    const path = document.createElementNS(SVG, "path");
    mark(path, "class", name);
    this.svg.append(path);
    return path;
  }

  listen(look) {
    const {input} = this;
    const focused = () => (document.activeElement === input ? Number(input.value) : null);
    input.addEventListener("input", () => look(Number(input.value)));
    input.addEventListener("focus", () => look(Number(input.value)));
    input.addEventListener("blur", () => look(null));
    input.addEventListener("pointermove", (event) => {
      const {left, width} = input.getBoundingClientRect();
      const along = Math.min(1, Math.max(0, (event.clientX - left) / width));
      const [first, last] = [Number(input.min), Number(input.max)];
      look(Math.round(first + along * (last - first)));
    });
    input.addEventListener("pointerleave", () => look(focused()));
  }

  /** Draw the samples from the `first` on. */
  draw(samples, first) {
    const last = samples.length - 1;
    const known = samples.filter((value) => value !== null);
    const top = Math.max(...known, 0) || 1;
    const y = (value) => (HEIGHT - 1 - (value / top) * (HEIGHT - 2)).toFixed(1);
    let line = "";
    let dots = "";
    let area = "";
    samples.forEach((value, x) => {
      if (value === null) return;
      const begins = x === 0 || samples[x - 1] === null;
      const ends = x === last || samples[x + 1] === null;
      // A single sample is a line without length; its round ends make it a dot.
      if (begins && ends) dots += `M${x} ${y(value)}h0`;
      else line += `${begins ? "M" : "L"}${x} ${y(value)}`;
      area += `${begins ? `M${x} ${HEIGHT}L` : "L"}${x} ${y(value)}${ends ? `V${HEIGHT}Z` : ""}`;
    });
    mark(this.svg, "viewBox", `${first} 0 ${last - first} ${HEIGHT}`);
    mark(this.line, "d", line);
    mark(this.dots, "d", dots);
    mark(this.area, "d", area);
    this.input.min = first;
    this.input.max = last;
    this.summary = known.length
      ? `min ${this.read(Math.min(...known))}, max ${this.read(Math.max(...known))}`
      : "nothing yet";
  }

  look(samples, moment, when) {
    const index = moment ?? samples.length - 1;
    const value = samples[index];
    const said = `${when(index)}: ${value === null ? "no value" : this.read(value)}`;
    this.input.value = index;
    mark(this.input, "aria-valuetext", said);
    mark(this.cursor, "d", moment === null ? "" : `M${index} 0V${HEIGHT}`);
    this.range.classList.toggle("reading", moment !== null);
    put(this.range, moment === null ? this.summary : said);
  }
}
