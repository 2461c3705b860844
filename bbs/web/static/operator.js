// What an operator does: log in and out, drain a server, start one. `people.js` is for people, and
// `replacing.js` for versions.

import {ask, Question} from "./asking.js";
import {find, put, reconcile} from "./dom.js";
import {Lists} from "./lists.js";
import {entry, fill} from "./news.js";
import {People} from "./people.js";
import {Replacing} from "./replacing.js";
import {meaning} from "./servers.js";
import {short, visible} from "./words.js";

const TOGETHER = 500;  // ms in which all events together have the record fetched once.

export class Operator {
  /**
   * `changed()` is called when somebody has logged in or out, and `acted(actions)` with the latest
   * acts on things of the service, newest first.
   */
  constructor(changed, acted) {
    this.acted = acted;
    this.name = null;
    this.later = null;
    this.changed = changed;
    this.button = find("#log-in-or-out");
    this.button.addEventListener("click", () => {
      if (this.name === null) this.login.open();
      else this.logOut();
    });
    this.login = new Question("login", (fields) => this.logIn(fields));
    this.drain = new Question("drain", () => this.drainIt());
    find("#start").addEventListener("click", () => this.start());
    this.replacing = new Replacing((message) => this.done(message));
    this.people = new People(() => this.refresh());
    this.lists = new Lists(() => this.refresh());
  }

  show(state) {
    const {operator, may_act: mayAct, last_action: last} = state;
    this.replacing.show(state);
    const before = this.name;
    this.name = operator;
    // Actions on people are not among the events, which everybody sees.
    if (before !== null && last !== this.last) this.refreshSoon();
    this.last = last;
    document.body.classList.toggle("operator", operator !== null);
    find("#for-whom").hidden = !mayAct || operator !== null;
    this.people.showOnline(operator === null ? [] : state.servers);
    this.button.hidden = !mayAct;
    put(this.button, operator === null ? "Log in" : "Log out");
    const name = mayAct ? visible(operator ?? "") : "Read only: no operator is set up.";
    put(find("#operator-name"), name);
    if (before === null && operator !== null) this.refresh();
    if (before !== null && operator === null) {
      this.drain.dialog.close();
      this.replacing.close();
      this.people.close();
      this.lists.close();
      this.acted([]);
      if (!this.leaving) this.say("You are logged out.");
    }
    this.leaving = false;
  }

  async logIn(fields) {
    const {ok, said} = await ask("POST", "login", fields);
    if (ok) {
      this.say("");
      this.changed();
      return "";
    }
    const password = find("[name=password]", this.login.form);
    password.focus();
    password.select();
    return said.message;
  }

  async logOut() {
    this.leaving = true;
    const {said} = await ask("POST", "logout");
    this.say(said.message);
    this.changed();
  }

  /** Ask whether a server is to be drained. */
  askToDrain(server) {
    this.server = server;
    put(find("#drain-id"), visible(server.id));
    put(find("#drain-meaning"), meaning(server));
    this.drain.open();
  }

  async drainIt() {
    const path = `servers/${encodeURIComponent(this.server.id)}/drain`;
    const {ok, said} = await ask("POST", path);
    if (ok) this.done(said.message);
    return ok ? "" : said.message;
  }

  async start() {
    if (this.starting) return;  // A double click means one server.
    this.starting = true;
    const {said} = await ask("POST", "servers");
    this.starting = false;
    this.done(said.message);
  }

  done(message) {
    this.say(message);
    this.refresh();
  }

  say(message) {
    put(find("#said"), visible(message));
  }

  /** Fetch all once for what happens together. */
  refreshSoon() {
    this.later ??= setTimeout(() => {
      this.later = null;
      this.refresh();
    }, TOGETHER);
  }

  /** Fetch the record of what operators did, and the lists. */
  async refresh() {
    if (this.name === null) return;
    this.lists.refresh();
    const {ok, said: actions} = await ask("GET", "actions");
    if (!ok || this.name === null) return;
    this.acted(actions.filter(({words}) => words).map((action) => ({
      id: `act ${action.id}`, at: action.at, text: `${action.operator} ${action.words}`,
      kind: "act",
    })));
    reconcile(
      find("#actions"), actions,
      ({id}) => id,
      entry,
      (item, action) => fill(item, action.at, said(action), ["asked", "plain"]),
    );
  }
}

const DEEDS = {
  launch: "started server", drain: "drained server", replace: "asked to replace",
  "replace-cancel": "asked to keep", adopt: "took over fleet", backup: "made a backup",
  "accept-clock": "accepted the clock",
  restore: "restored a backup", kick: "logged out everywhere:", suspend: "suspended",
  resume: "resumed", password: "gave a new password to", delete: "deleted the account",
};

/** An operator's action in a line: `words` are the service's, of one on a thing of its own. */
function said({operator, address, action, target, person, detail, words}) {
  if (words) return `${operator} ${words}, from ${address}`;
  const what = person === null ? short(target) : person;
  const deed = `${operator} ${DEEDS[action] ?? action}${what && ` ${what}`}`;
  return `${deed}${detail ? ` (${detail})` : ""}, from ${address}`;
}
