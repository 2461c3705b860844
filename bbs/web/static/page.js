// The operators' page: it shows what the server's stream says, and when the stream is lost.

import {find, keepFocus, list, make, mark, put, reconcile} from "./dom.js";
import {Figures, living} from "./figures.js";
import {News} from "./news.js";
import {Operator} from "./operator.js";
import {ServerPlots} from "./server-plots.js";
import {Servers} from "./servers.js";
import {Stream} from "./stream.js";
import {counted, duration, number, short, time, visible} from "./words.js";

class Page {
  constructor() {
    this.title = document.title;
    this.kind = null;  // The version, the service and its counters that this page is made for.
    this.opened = null;  // When this page was opened, by the server's clock.
    this.last = null;  // The time of the last snapshot by the server's clock; `heard` is by ours.
    this.heard = 0;
    this.crying = false;
    this.lost = null;  // The timer that counts the seconds without a connection.
    this.figures = new Figures(find("#figures ul"));
    this.plots = new ServerPlots();
    this.servers = new Servers(
      (server) => this.operator.askToDrain(server),
      (server, button) => this.plots.open(server, button),
    );
    this.events = new News();
    this.operator = new Operator(() => this.stream.open());
    this.stream = new Stream("stream", (kind, data) => this[kind](data), (why) => this.lose(why));
  }

  // The stream's events, by their names.

  state(state) {
    const kind = [state.version, state.service, ...Object.keys(state.counters)].join(" ");
    this.kind ??= kind;
    // After an upgrade these scripts are of another version.
    if (kind !== this.kind) return location.reload();
    // A clock that is set back must not make new events look old.
    this.opened = Math.min(this.opened ?? state.at, state.at);
    this.last = state.at;
    this.heard = Date.now();
    if (this.lost !== null) this.regain();
    keepFocus(() => this.show(state), find("#servers-title"));
  }

  history(history) {
    this.figures.hour(history);
  }

  point(point) {
    this.figures.point(point);
    this.plots.refresh();
  }

  news(news) {
    const old = this.opened === null || news.at <= this.opened;
    if (this.events.add(news, old) && !old) this.operator.refreshSoon();
  }

  show(state) {
    put(find("#as-of"), `Live, ${time(state.at)}`);
    const fleet = state.fleet ? `, fleet ${state.fleet.id}` : "";
    const login = short(state.login_server);
    put(find("#where"), `Version ${state.version}, login server ${login}${fleet}`);
    this.operator.show(state);
    this.figures.now(state);
    this.servers.show(state);
    this.cry(state.alarms);
    put(find("#waiting"), waiting(state));
    list(find("#waiting-who"), (state.waiting.who ?? []).map(visible));
    reconcile(find("#alerts"), troubles(state), (text) => text, () => make("p", "", "alert"), put);
    find("#fleet").classList.toggle("stale", !state.database);
  }

  /** Show the alarms: what is wrong, and what to do. */
  cry(alarms) {
    this.crying = alarms.length > 0;
    // Screen readers read out only what is new, as the same words stay the same elements.
    reconcile(
      find("#alarm"), alarms, ({cause}) => cause,
      () => {
        const line = make("p");
        line.append(make("strong"), " ", make("span"));
        return line;
      },
      (line, {text, todo}) => {
        put(find("strong", line), `${visible(text)}.`);
        put(find("span", line), todo);
      },
    );
    this.entitle();
  }

  // The connection.

  /** Show that there is no connection; `why` is the server's reason, if any. */
  lose(why) {
    if (this.lost === null) this.sayLost();
    put(this.why, why && `${visible(why)} `);
  }

  sayLost() {
    const ago = make("span");
    mark(ago, "aria-hidden", "true");
    const since = this.last === null ? "Not connected yet" : `Last known ${time(this.last)}`;
    this.why = make("span");
    find("#lost").replaceChildren(make("strong", since), ago, ". ", this.why, "Reconnecting…");
    const tick = () => {
      const seconds = Math.round((Date.now() - this.heard) / 1000);
      put(ago, this.last === null ? "" : `, ${duration(seconds)} ago`);
    };
    tick();
    this.lost = setInterval(tick, 1000);
    put(find("#as-of"), "Not live");
    this.dim(true);
  }

  regain() {
    clearInterval(this.lost);
    this.lost = null;
    find("#lost").replaceChildren();
    this.dim(false);
    this.events.say("Connected again.");
  }

  dim(stale) {
    document.body.classList.toggle("cut", stale);
    this.entitle();
  }

  /** Show what is most urgent in the title, for a reader of another page. */
  entitle() {
    if (this.lost !== null) document.title = this.title.replace(/:.*/, ": not connected");
    else document.title = this.crying ? `ALARM – ${this.title}` : this.title;
  }
}

function waiting({waiting: {count, longest}, launches}) {
  if (!count) return "Nobody waits for a place.";
  const who = `${counted(count, "person waits", "people wait")} for a place`;
  const since = longest === null ? "" : `, the longest for ${duration(longest)}`;
  const {usual} = launches;
  const launch = usual === null ? "" : ` A server takes ${duration(usual)} to start.`;
  return `${who}${since}.${launch}`;
}

/** The problems, in sentences. */
function troubles(state) {
  const {database, broker, refusal, states, maximum, fleet_at: seen} = state;
  const crying = state.alarms.map(({cause}) => cause);
  const texts = [];
  if (!database) {
    const since = seen ? ` The fleet is shown as of ${time(seen)}.` : "";
    texts.push(`The database is away: nobody can log in.${since}`);
  }
  // Each service declares what arrives late then.
  if (!broker) texts.push(find("#alerts").dataset.brokerAway);
  if (refusal) {
    const {reason, until} = refusal;
    const why = crying.includes("refused") ? "" : `: ${visible(reason)}`;
    texts.push(`No server can be launched${why}. The next try is at ${time(until)}.`);
  }
  if (state.fleet?.copy_of) {
    const {id, copy_of: before} = state.fleet;
    texts.push(`This is fleet ${id}, whose database is a copy of fleet ${before}'s, or was moved. `
      + `If that fleet no longer runs, "${state.service} fleet adopt" makes this fleet `
      + `${before} again.`);
  }
  // A maximum of 0 means that operators run the fleet by hand.
  if (maximum && state.waiting.count && !crying.includes("maximum") && living(states) >= maximum) {
    texts.push(`People wait, and the fleet is at its maximum of ${number(maximum)} servers.`);
  }
  return texts;
}

new Page();
