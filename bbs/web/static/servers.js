// The table of servers. A row stays the same row, in its place, whatever changes; new servers come
// last.

import {copy, draw, fillBar, find, list, make, mark, put, reconcile} from "./dom.js";
import {Finding} from "./finding.js";
import {counted, duration, NOTHING, number, short, spoken, visible} from "./words.js";

const ORDER = ["launching", "warm", "ready", "draining", "lost", "gone"];

// What a state means, where the server itself gives no reason.
const MEANINGS = {
  launching: "takes people when it is ready",
  warm: "stands by, stopped, for a crowd",
  ready: "takes people",
  draining: "takes nobody new, and ends when it is empty",
  lost: "does not answer: its people get other places",
  gone: "has ended",
};

export class Servers {
  /** `drain(server)` drains a server, `plots(server, button)` shows its last hour. */
  constructor(drain, plots) {
    this.drain = drain;
    this.plots = plots;
    this.rows = find("#servers");
    this.places = new Map();
    this.next = 0;
    this.known = new Map();
    this.finding = new Finding((servers) => this.draw(servers));
  }

  show(state) {
    const all = Object.values(state.states).reduce((sum, count) => sum + count, 0);
    find("#no-servers").hidden = all > 0;
    put(find("#states"), this.summary(state.states));
    this.finding.show(state);
  }

  draw(servers) {
    this.known = new Map(servers.map((server) => [server.id, server]));
    reconcile(
      this.rows, this.inOrder(servers), (server) => server.id,
      (server) => this.create(server),
      (row, server) => this.update(row, server),
      (row) => this.leave(row),
    );
  }

  /** The servers in the order first seen, the oldest first of those seen together. */
  inOrder(servers) {
    const places = new Map();
    for (const {id} of [...servers].sort((one, other) => other.age - one.age)) {
      places.set(id, this.places.get(id) ?? this.next++);
    }
    this.places = places;
    return [...servers].sort((one, other) => places.get(one.id) - places.get(other.id));
  }

  summary(states) {
    return ORDER.map((state) => [state, states[state]])
      .filter(([, count]) => count)
      .map(([state, count]) => `${number(count)} ${state}`)
      .join(", ");
  }

  create({id}) {
    const row = copy("server");
    // The whole id is there to be copied; its visible part is enough to recognize it.
    const name = find(".id", row);
    const rest = make("span", visible(id).slice(8), "rest");
    name.append(visible(short(id)), rest);
    mark(rest, "aria-hidden", "true");
    mark(name, "title", visible(id));
    mark(find(".more summary", row), "aria-label", `More about ${visible(short(id))}`);
    const plots = find(".plots", row);
    mark(plots, "aria-label", `Plots of ${visible(short(id))}`);
    plots.addEventListener("click", () => this.plots(this.known.get(id), plots));
    const button = find(".drain", row);
    mark(button, "aria-label", `Drain ${visible(short(id))}`);
    button.addEventListener("click", () => {
      if (!button.hasAttribute("aria-disabled")) this.drain(this.known.get(id));
    });
    return row;
  }

  update(row, server) {
    const {state, people, capacity} = server;
    mark(row, "class", state);
    put(find(".address", row), visible(server.address ?? "no address yet"));
    put(find(".place", row), place(server));
    put(find(".instance", row), visible(server.instance ?? ""));
    const after = server.ready_after;
    put(find(".began", row), after === null ? "" : `ready after ${duration(after)}`);
    draw(find(".state", row), ORDER.includes(state) ? state : "gone");
    put(find("b", row), state);
    put(find(".reason", row), reason(server));
    put(find(".age", row), duration(server.age));
    put(find(".count", row), `${number(people)} of ${number(capacity)}`);
    fillBar(row, people, capacity);
    put(find(".connected", row), there(server));
    this.updateRates(row, Object.entries(server.counters));
    put(find(".lease", row), ago(server.lease));
    this.updateWho(row, server.who);
    const button = find(".drain", row);
    // A disabled button would lose the focus: this one is only marked, and does nothing.
    const drainable = !server.drain_asked && ["ready", "launching", "warm"].includes(state);
    mark(button, "aria-disabled", drainable ? null : "true");
  }

  /** Show what the server counts; there is no column if that is nothing. */
  updateRates(row, counters) {
    const cell = find(".rate", row);
    if (!cell) return;
    if (counters.length === 1) return put(cell, number(counters[0][1].per_second));
    reconcile(
      cell, counters, ([name]) => name, () => make("div"),
      (line, [name, {per_second: rate}]) => put(line, `${spoken(name)}\u00a0${number(rate)}`),
    );
  }

  updateWho(row, who) {
    const details = find(".who", row);
    details.hidden = !who?.length;
    mark(find("summary", details), "aria-label", `Who is on ${row.dataset.key.slice(0, 8)}`);
    list(find("ul", details), (who ?? []).map(visible));
  }

  leave(row) {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    const button = next && find(".drain", next);
    (button?.offsetParent ? button : find("#servers-title")).focus();
  }
}

const BY = {operator: "run by an operator"};

function place({provider, type, version}) {
  const runs = version && `version ${version}`;
  return [BY[provider] ?? provider, type, runs].filter(Boolean).map(visible).join(" ");
}

/** How many of a server's people listen; the others only have a place, and may be back for it. */
function there({connected}) {
  return connected === null ? "" : `${number(connected)} connected`;
}

function ago(seconds) {
  if (seconds === null) return NOTHING;
  return seconds < 1 ? "just now" : `${duration(seconds)} ago`;
}

function reason({state, reason: why, why: explained, ...server}) {
  // A server that drains names the reason itself.
  const marked = server.replace_asked && !server.drain_asked;
  const replaced = marked && ["launching", "warm", "ready"].includes(state) && "to be replaced";
  const told = visible(explained ?? why);
  if (told) return replaced ? `${told}, ${replaced}` : told;
  if (state === "ready" && server.drain_asked) return "to be drained: its people move";
  if (!replaced && state === "ready" && server.people >= server.capacity) return "full";
  return replaced || (MEANINGS[state] ?? "");
}

/** The effect of draining a server, for the question before. */
export function meaning({people}) {
  const them = people
    ? `${counted(people, "person", "people")} on it ${people === 1 ? "moves" : "move"} to other ` +
      "servers as places are found there"
    : "Nobody is on it";
  return `It takes nobody any more. ${them}; then it ends.`;
}
