// The operators' page: it shows what the server's stream says, and when the stream is lost.

import {copy, draw, find, keepFocus, list, make, mark, put, reconcile} from "./dom.js";
import {Figures} from "./figures.js";
import {News} from "./news.js";
import {Operator} from "./operator.js";
import {ServerPlots} from "./server-plots.js";
import {Servers} from "./servers.js";
import {Stream} from "./stream.js";
import {counted, duration, number, short, size, time, visible} from "./words.js";

class Page {
  constructor() {
    this.title = document.title;
    this.kind = null;  // The version, the service and its counters that this page is made for.
    this.opened = null;  // When this page was opened, by the server's clock.
    this.last = null;  // The time of the last snapshot by the server's clock; `heard` is by ours.
    this.heard = 0;
    this.level = "";
    this.lost = null;  // The timer that counts the seconds without a connection.
    this.figures = new Figures(find("#figures ul"), find("#more-figures"));
    arrange();
    this.plots = new ServerPlots();
    this.servers = new Servers(
      (server) => this.operator.askToDrain(server),
      (server, button) => this.plots.open(server, button),
    );
    this.events = new News();
    this.operator = new Operator(
      () => this.stream.open(), (actions) => this.events.showActs(actions),
    );
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
    if (this.operator.name !== null) this.operator.lists.refresh();
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
    const {summary, alarms, warnings} = state;
    const problems = [...alarms, ...warnings];
    this.summarize(summary);
    tell(find("#alarm"), "", problems.filter(({urgent}) => urgent));
    tell(find("#alerts"), "alert", problems.filter(({urgent}) => !urgent));
    put(find("#presence"), presence(state));
    put(find("#waiting"), waiting(state));
    list(find("#waiting-who"), (state.waiting.who ?? []).map(visible));
    showUpkeep(state);
    find("#fleet").classList.toggle("stale", !state.database);
  }

  /** Show the service in one sentence. */
  summarize({level, text}) {
    this.level = level;
    const line = find("#summary");
    mark(line, "class", level);
    draw(line, level === "unknown" ? "gone" : level);
    put(find("strong", line), visible(text));
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
    // What was well may not be so any more.
    this.summarize({level: "unknown", text: "Not known: this page has lost its server."});
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
    else document.title = this.level === "alarm" ? `ALARM – ${this.title}` : this.title;
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

/** Who has a place, in a sentence. */
function presence({people, connected, away}) {
  const others = away
    ? ` ${counted(away, "more is", "more are")} logged in without a place, idle for long.` : "";
  return `${counted(people, "person has", "people have")} a place on a server; `
    + `${number(connected)} of them have a client open.${others}`;
}

/** Show problems in a region: what is wrong, and what to do. */
function tell(region, className, problems) {
  // Screen readers read out only what is new, as the same words stay the same elements.
  reconcile(
    region, problems, ({cause}) => cause,
    () => {
      const line = make("p", "", className);
      line.append(make("strong"), " ", make("span"));
      return line;
    },
    (line, {text, todo}) => {
      put(find("strong", line), `${visible(text)}.`);
      put(find("span", line), visible(todo));
    },
  );
}

const OLD = 7 * 86400;  // Seconds after which a backup is old.

// The shapes of facts in good, middling and bad order.
const UPKEEP = {good: "well", warn: "attention", bad: "alarm"};

/** Show the free disk and the last backup, where they are known. */
function showUpkeep({at, service, disk, backup}) {
  const facts = [];
  if (disk) {
    const {free, floor, whole} = disk;
    const text = `Disk: ${size(free)} of ${size(whole)} are free; ${size(floor)} have to be.`;
    facts.push({key: "disk", text, look: free < floor ? "bad" : free < 2 * floor ? "warn" : "good"});
  }
  if (backup) {
    const never = `Last backup: never. Make one: ${service} backup FILE`;
    const age = backup.at === null ? Infinity : Math.max(0, at - backup.at);
    const text = backup.at === null ? never : `Last backup: ${duration(Math.floor(age))} ago.`;
    facts.push({key: "backup", text, look: age > OLD ? "warn" : "good"});
  }
  reconcile(find("#upkeep"), facts, ({key}) => key, () => {
    const item = copy("event");
    find("time", item).remove();
    return item;
  }, (item, {text, look}) => {
    mark(item, "class", look);
    draw(item, UPKEEP[look]);
    put(find("span", item), text);
  });
}

/** Have the figures behind the people on a narrow screen, for the eye, the keyboard and a screen
 *  reader alike. */
function arrange() {
  const narrow = matchMedia("(max-width: 54rem)");
  const place = () => {
    const focus = document.activeElement;
    find(narrow.matches ? "#events" : "#fleet").before(find("#figures"));
    focus.focus();  // What moves loses it.
  };
  narrow.addEventListener("change", place);
  place();
}

new Page();
