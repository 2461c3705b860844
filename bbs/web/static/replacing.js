// The replacement of servers of other versions than this page's, and its cancellation.

import {ask, Question} from "./asking.js";
import {find, put} from "./dom.js";
import {counted, number, visible} from "./words.js";

export class Replacing {
  /** `done(message)` is called when something was asked for. */
  constructor(done) {
    this.done = done;
    this.button = find("#replace-or-cancel");
    this.button.addEventListener("click", () => this.open());
    this.replace = new Question("replace", (fields) => this.send("servers/replace", fields));
    this.cancel = new Question("cancel-replacement", () => this.send("servers/replace/cancel"));
  }

  show({version, replacing, login_servers: loginServers}) {
    this.version = version;
    this.now = replacing;
    const {outdated, asked} = replacing;
    this.button.hidden = !(outdated || asked);
    put(this.button, asked ? "Cancel replacement" : "Replace outdated");
    put(find("#replacing"), going(replacing));
    put(find("#login-servers"), versions(loginServers));
  }

  open() {
    const {outdated, asked} = this.now;
    if (asked) {
      const question = `${servers(asked)} to be replaced, and would stay. A server that already `
        + "drains still ends.";
      put(find("#cancel-replacement-meaning"), question);
      this.cancel.open();
    } else {
      const run = counted(outdated, "server runs", "servers run");
      put(find("#replace-meaning"), `${run} another version than ${visible(this.version)}. They `
        + "are replaced one after the other: a new one is ready before an old one drains, and "
        + "people move without logging in.");
      this.replace.open();
    }
  }

  async send(path, fields) {
    const {ok, said} = await ask("POST", path, fields);
    if (ok) this.done(said.message);
    return ok ? "" : said.message;
  }

  close() {
    this.replace.dialog.close();
    this.cancel.dialog.close();
  }
}

const servers = (count) => counted(count, "server is", "servers are");

/** How many servers are to be replaced, and what that waits for. */
function going({asked, waits_for: what}) {
  if (!asked) return "";
  const waits = what === null ? "" : ` This waits: ${visible(what)}.`;
  return `${servers(asked)} to be replaced, one after the other.${waits}`;
}

/** The number of login servers of each version. */
function versions(loginServers) {
  const counts = new Map();
  for (const {version} of loginServers) counts.set(version, (counts.get(version) ?? 0) + 1);
  const each = [...counts].map(([version, count]) => {
    const which = version === null ? "an older version" : `version ${visible(version)}`;
    return `${number(count)} of ${which}`;
  });
  return each.length ? `Login servers: ${each.join(", ")}.` : "";
}
