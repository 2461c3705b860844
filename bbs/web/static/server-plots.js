// The last hour of one server: its people and its counters.

import {copy, find, make, put} from "./dom.js";
import {beginning, moment, Plot} from "./figures.js";
import {number, short, spoken, visible} from "./words.js";

const TITLES = {people: "People"};

/** The title of a series: `people`, or `NAME_per_second`. */
function title(series) {
  if (series in TITLES) return TITLES[series];
  const text = `${spoken(series.replace(/_per_second$/, ""))} a second`;
  return text[0].toUpperCase() + text.slice(1);
}

export class ServerPlots {
  constructor() {
    this.id = null;
    this.panel = find("#server-plots");
    this.cards = find("ul", this.panel);
    this.heading = find("h3", this.panel);
    find("button", this.panel).addEventListener("click", () => this.close());
  }

  /** Show the plots of a server; `back` gets the focus when they are closed. */
  open({id}, back) {
    this.id = id;
    this.back = back;
    this.plots = new Map();
    this.cards.replaceChildren();
    put(this.heading, `Server ${visible(short(id))} in the last hour`);
    put(find("p", this.panel), "");
    this.panel.hidden = false;
    this.heading.focus();
    this.refresh();
  }

  close() {
    this.id = null;
    this.panel.hidden = true;
    (this.back?.isConnected ? this.back : find("#servers-title")).focus();
  }

  /** Show new samples. */
  async refresh() {
    const {id} = this;
    if (id === null) return;
    let history = null;
    try {
      const answer = await fetch(`history?server=${encodeURIComponent(id)}`);
      if (answer.ok) history = await answer.json();
    } catch {
      return;  // The page itself shows that there is no connection.
    }
    if (id !== this.id) return;
    const none = "No plots yet: they begin within ten seconds, for at most twenty servers.";
    put(find("p", this.panel), history ? "" : none);
    if (history) this.draw(history);
  }

  draw(history) {
    this.history = history;
    for (const [series, samples] of Object.entries(history.series)) {
      if (!this.plots.has(series)) this.plots.set(series, this.create(series));
      const {plot, card} = this.plots.get(series);
      plot.draw(samples, beginning(history));
      put(find("strong", card), number(samples.at(-1)));
    }
    this.look(this.at ?? null);
  }

  create(series) {
    const card = copy("figure");
    // One level below the headings of the fleet's figures.
    find("h3", card).replaceWith(make("h4", title(series)));
    this.cards.append(card);
    const name = `${title(series)} on this server`;
    return {card, plot: new Plot(name, number, card, (at) => this.look(at))};
  }

  look(at) {
    this.at = at;
    for (const [series, {plot}] of this.plots) {
      plot.look(this.history.series[series], at, (index) => moment(this.history, index));
    }
  }
}
