// The row of figures: the present value of each, and a plot of its last hour.
//
// Each plot is an SVG path drawn here: a library would be most of the 100 KB that the whole page
// may have. An invisible range input lies over each plot: it moves through the hour by pointer,
// touch and arrow keys alike, and tells a screen reader where it is. All plots share one moment, so
// that the reader sees together what happened together.

import {copy, fillBar, find, make, mark, put} from "./dom.js";
import {counted, duration, number, spoken, time} from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 40;

const sum = (values) => values.reduce((all, value) => all + value, 0);

/** The number of servers that run: some in the table are gone, or stopped as warm ones are. */
export const living = ({gone = 0, warm = 0, ...others}) => sum(Object.values(others));

/** The errors that occurred, by kind. */
const kinds = (errors) => Object.entries(errors)
  .filter(([, count]) => count)
  .map(([kind, count]) => `${number(count)} ${kind.replaceAll("-", " ")}`)
  .join(", ");

// The figure of a counter of the service.
const counter = (name) => {
  const title = `${spoken(name)} a second`;
  return {
    series: `${name}_per_second`, title: title[0].toUpperCase() + title.slice(1), read: number,
    now: ({counters}) => counters[name]?.per_second ?? null,
  };
};

// Each figure: the name of its series, how to write a value, the present value, and a note.
const figures = (counters) => [
  {title: "People with a place", read: number, now: ({people}) => people,
    whole: ({places}) => places, note: ({places}) => `of ${counted(places, "place", "places")}`},
  {series: "connected", title: "Connected", read: number, now: ({connected}) => connected,
    note: ({away}) => `${number(away)} away`},
  {series: "logins_per_minute", title: "Logins a minute", read: number,
    now: (state) => state.logins_per_minute},
  {series: "failed_logins_per_minute", title: "Failed logins a minute", read: number,
    now: (state) => state.failed_logins_per_minute},
  {series: "errors_per_minute", title: "Errors a minute", read: number,
    now: ({errors_per_minute: errors}) => sum(Object.values(errors)),
    note: ({errors_per_minute: errors}) => kinds(errors)},
  {series: "free_places", title: "Free places", read: number, now: (state) => state.free_places,
    note: ({spare}) => `${number(spare)} kept spare`},
  {series: "waiting", title: "People waiting", read: number, now: ({waiting}) => waiting.count},
  {series: "longest_wait", title: "Longest wait", read: duration,
    now: ({waiting}) => waiting.longest},
  {series: "servers", title: "Servers", read: number, now: ({states}) => living(states),
    note: ({minimum, maximum}) =>
      maximum ? `${number(minimum)} to ${number(maximum)}` : "run by hand"},
  {series: "launches", title: "Launches", read: number,
    now: ({launches}) => launches.last_hour, note: () => "in the last hour"},
  {series: "launch_seconds", title: "Time to launch", read: duration,
    now: ({launches}) => launches.usual,
    note: ({launches}) => `${number(launches.under_way)} under way`},
  ...counters.map(counter),
  {series: "database_time", title: "Database time", read: duration,
    now: (state) => state.database_time, note: () => "this server's"},
  {series: "reactor_lag", title: "Reactor lag", read: duration,
    now: (state) => state.reactor_lag, note: () => "this server's"},
];

/** The time of a sample in an hour. */
export function moment({end, step, series}, index) {
  const [samples] = Object.values(series);
  return time(end - (samples.length - 1 - index) * step);
}

export class Figures {
  /** Make the cards in `parent`, which names the counters of the service. */
  constructor(parent) {
    this.moment = null;  // The index of the sample that is looked at, null for none.
    this.history = null;
    this.plots = new Map();
    const counters = parent.dataset.counters.split(" ").filter(Boolean);
    this.cards = figures(counters).map((figure) => {
      const card = copy("figure");
      put(find("h3", card), figure.title);
      mark(find(".bar", card), "hidden", figure.whole ? null : "");
      parent.append(card);
      return {...figure, card};
    });
  }

  /** Show a snapshot. */
  now(state) {
    for (const {card, read, now, note, whole} of this.cards) {
      put(find("strong", card), read(now(state)));
      if (whole) fillBar(card, now(state), whole(state));
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
    for (const [name, plot] of this.plots) plot.draw(this.history.series[name]);
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
    this.input.min = 0;
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
      look(Math.round(along * Number(input.max)));
    });
    input.addEventListener("pointerleave", () => look(focused()));
  }

  draw(samples) {
    const last = samples.length - 1;
    const known = samples.filter((value) => value !== null);
    const top = Math.max(...known, 0) || 1;
    const y = (value) => (HEIGHT - 1 - (value / top) * (HEIGHT - 2)).toFixed(1);
    let line = "";
    let dots = "";
    let area = "";
    samples.forEach((value, x) => {
      if (value === null) return;
      const first = x === 0 || samples[x - 1] === null;
      const end = x === last || samples[x + 1] === null;
      // A single sample is a line without length; its round ends make it a dot.
      if (first && end) dots += `M${x} ${y(value)}h0`;
      else line += `${first ? "M" : "L"}${x} ${y(value)}`;
      area += `${first ? `M${x} ${HEIGHT}L` : "L"}${x} ${y(value)}${end ? `V${HEIGHT}Z` : ""}`;
    });
    mark(this.svg, "viewBox", `0 0 ${last} ${HEIGHT}`);
    mark(this.line, "d", line);
    mark(this.dots, "d", dots);
    mark(this.area, "d", area);
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
