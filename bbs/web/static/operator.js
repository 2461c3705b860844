// What an operator does here: log in and out, drain a server, start one.

import {find, keep, put} from "./dom.js";
import {entry, fill} from "./news.js";
import {meaning} from "./servers.js";
import {short, visible} from "./words.js";

const PATIENCE = 10000;  // ms for an answer.
const TOGETHER = 500;  // ms in which what happens is one reason to fetch the record again.

/** Ask for a path; what the server says, in words also where it says nothing. */
async function ask(method, path, body) {
  try {
    const answer = await fetch(path, {
      method,
      // No other site's page can send this header: the server acts on nothing without it.
      headers: {"Content-Type": "application/json", "X-BBS": "1"},
      body: body && JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE),
    });
    const said = await answer.json();
    return {ok: answer.ok, said};
  } catch {
    const message = "The server does not answer. Try again in a moment.";
    return {ok: false, said: {message}};
  }
}

/** A dialog with a form. `submit(fields)` resolves to "", which closes it, or to what is wrong. */
class Question {
  constructor(id, submit) {
    this.dialog = find(`#${id}`);
    this.form = find("form", this.dialog);
    this.problem = find(".problem", this.dialog);
    this.submit = submit;
    find("[value=cancel]", this.form).addEventListener("click", () => this.dialog.close());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.answer();
    });
    this.dialog.addEventListener("close", () => this.form.reset());
  }

  open() {
    put(this.problem, "");
    this.dialog.showModal();
  }

  async answer() {
    if (this.busy) return;
    this.busy = true;
    put(this.problem, "");
    const problem = await this.submit(Object.fromEntries(new FormData(this.form)));
    this.busy = false;
    put(this.problem, visible(problem));
    if (!problem) this.dialog.close();
  }
}

export class Operator {
  /** `changed()` is called when somebody has logged in or out. */
  constructor(changed) {
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
  }

  show({operator, may_act: mayAct}) {
    const before = this.name;
    this.name = operator;
    document.body.classList.toggle("operator", operator !== null);
    this.button.hidden = !mayAct;
    put(this.button, operator === null ? "Log in" : "Log out");
    const name = mayAct ? visible(operator ?? "") : "Shows only: no operator is set up.";
    put(find("#operator-name"), name);
    if (before === null && operator !== null) this.refresh();
    if (before !== null && operator === null) {
      this.drain.dialog.close();
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
    if (this.starting) return;  // Pressed twice, and meant once.
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

  /** Fetch it once for all that happens together. */
  refreshSoon() {
    this.later ??= setTimeout(() => {
      this.later = null;
      this.refresh();
    }, TOGETHER);
  }

  /** Fetch the record of what operators did. */
  async refresh() {
    if (this.name === null) return;
    const {ok, said} = await ask("GET", "actions");
    if (!ok) return;
    keep(
      find("#actions"), said,
      ({id}) => id,
      entry,
      (item, {at, operator, address, action, target}) =>
        fill(item, at, `${operator} from ${address}: ${action} ${short(target)}`),
    );
  }
}
