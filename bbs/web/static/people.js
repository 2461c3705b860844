// People, for operators: search for somebody, see their numbers, and help.

import {ask, Question} from "./asking.js";
import {find, make, put, reconcile, stamp} from "./dom.js";
import {counted, number, short, spoken, visible} from "./words.js";

const STATES = {
  online: "online", waiting: "waits for a place", away: "logged in, away",
  suspended: "suspended", offline: "offline",
};

const ONLINE = 200;  // Names that are listed at most.

export class People {
  /** `done()` is called after an action. */
  constructor(done) {
    this.done = done;
    this.name = null;
    this.visit = 0;
    this.known = [];
    this.behind = null;
    this.form = find("#search");
    this.article = find("#person");
    this.more = find("#more-people");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.search();
    });
    this.more.addEventListener("click", () => this.find(this.wanted, this.behind));
    this.questions = Object.fromEntries(["kick", "suspend", "password", "delete"].map(
      (action) => [action, new Question(action, (fields) => this.answer(action, fields))],
    ));
    for (const button of this.article.querySelectorAll("button")) {
      button.addEventListener("click", () => this.begin(button.value));
    }
  }

  /** Clear everything after a logout: it was for operators only. */
  close() {
    for (const {dialog} of Object.values(this.questions)) dialog.close();
    this.list([], null);
    put(find("#found"), "");
    this.form.reset();
    this.article.hidden = true;
    for (const element of this.article.querySelectorAll("h3, dl, #person-said")) put(element, "");
    for (const element of document.querySelectorAll(".whose")) put(element, "");
    this.name = null;
    this.visit += 1;  // Drops the answers to earlier requests.
  }

  /** Show who has a place on one of `servers`. */
  showOnline(servers) {
    const names = [...new Set(servers.flatMap(({who}) => who ?? []))].sort();
    reconcile(
      find("#online"), names.slice(0, ONLINE), (name) => name, (name) => this.link(name), () => {},
      () => find("#people-title").focus(),
    );
    const more = names.length - ONLINE;
    put(find("#more-online"), more > 0 ? `And ${number(more)} more: search for them.` : "");
  }

  /** A list item with a person's name, which opens the person. */
  link(name) {
    const item = make("li");
    const button = make("button", visible(name), "link");
    button.type = "button";
    button.addEventListener("click", () => this.open(name));
    item.append(button);
    return item;
  }

  // Search.

  /** Find the people that the form asks for. */
  search() {
    const fields = new FormData(this.form);
    this.wanted = {search: fields.get("search").trim()};
    if (fields.has("online")) this.wanted.online = "1";
    return this.find(this.wanted, "");
  }

  /** Find people; in a long list, those behind a name. */
  async find(wanted, behind) {
    const {visit} = this;
    const {ok, said} = await ask("GET", `people?${new URLSearchParams({...wanted, behind})}`);
    // The operator has logged out, or searches for somebody else by now.
    if (visit !== this.visit || wanted !== this.wanted) return;
    if (!ok) return put(find("#found"), visible(said.message));
    this.list(behind ? [...this.known, ...said.people] : said.people, said.more);
    const count = this.known.length;
    const some = said.more === null ? "" : ", and there are more";
    put(find("#found"), count ? `${counted(count, "person", "people")}${some}` : "Nobody.");
  }

  list(people, more) {
    this.known = people;
    this.behind = more;
    this.more.hidden = more === null;
    reconcile(
      find("#found-people"), people, ({name}) => name,
      (person) => this.entry(person),
      (item, person) => put(find("small", item), state(person)),
    );
  }

  entry({name}) {
    const item = this.link(name);
    item.append(" ", make("small"));
    return item;
  }

  // One person.

  async open(name) {
    if (await this.show(name)) {
      put(find("#person-said"), "");
      find("#person-name").focus();
    }
  }

  /** Show somebody's present state; resolves to whether there is one, undefined if outdated. */
  async show(name) {
    const {visit} = this;
    const shows = this.shows = {};
    const {ok, said} = await ask("GET", `people/show?${new URLSearchParams({name})}`);
    // The operator has logged out, or has opened somebody else meanwhile.
    if (visit !== this.visit || shows !== this.shows) return undefined;
    this.article.hidden = !ok;
    put(find("#found"), ok ? find("#found").textContent : visible(said.message));
    if (!ok) return false;
    this.name = said.name;
    put(find("#person-name"), visible(said.name));
    find("dl", this.article).replaceChildren(...lines(said));
    find("[value=resume]", this.article).hidden = said.suspended === null;
    this.list(this.known.map((each) => (each.name === said.name ? said : each)), this.behind);
    return true;
  }

  begin(action) {
    this.asked = this.name;  // The page may show somebody else when the answer comes.
    if (action === "resume") return this.answer(action, {});
    const question = this.questions[action];
    put(find(".whose", question.dialog), visible(this.asked));
    question.open();
  }

  /** Carry out an action; resolves to the problem, "" if there is none. */
  async answer(action, fields) {
    const name = this.asked;
    const body = {name};
    if (action === "password") {
      if (fields.password !== fields.again) return "The two differ: type it once more.";
      body.password = fields.password;
    }
    // A character that is shown as an escape can only be typed as the escape.
    if (action === "delete") body.again = fields.again === visible(name) ? name : fields.again;
    if (action === "suspend") {
      body.reason = fields.reason;
      if (fields.for) body.for = Number(fields.for);
    }
    const {ok, said} = await ask("POST", `people/${action}`, body);
    if (!ok && action !== "resume") return said.message;
    put(find("#person-said"), visible(said.message));
    this.done();
    // Not awaited: until then the question would hide the message.
    this.showAfter(action, name, said.message);
    return "";
  }

  /** Show somebody after an action. */
  async showAfter(action, name, message) {
    if (await this.show(name) !== false || action !== "delete") return;
    // The account is deleted.
    put(find("#found"), visible(message));
    this.list(this.known.filter((each) => each.name !== name), this.behind);
    find("#people-title").focus();
  }
}

function state({state: word, suspended}) {
  return `${STATES[word]}${suspended?.until === null ? ", until resumed" : ""}`;
}

/** The facts of somebody, as terms and values. */
function lines(person) {
  const {state, server, address, sessions, created, seen, suspended, counts} = person;
  const where = server === null ? "" : ` on ${short(server)}${address ? ` at ${address}` : ""}`;
  const found = [
    ["State", `${STATES[state]}${where}`],
    ["Sessions", number(sessions)],
    ["Account made", moment(created)],
    ["Last seen", seen === null ? "not known" : moment(seen)],
  ];
  if (suspended !== null) {
    found.push(
      ["Suspended since", moment(suspended.since)],
      ["Until", suspended.until === null ? "resumed" : moment(suspended.until)],
      ["Reason", suspended.reason || "none given"],
    );
  }
  for (const [name, count] of Object.entries(counts ?? {})) {
    const words = spoken(name);
    found.push([words[0].toUpperCase() + words.slice(1), number(count)]);
  }
  return found.map(([term, value]) => {
    const pair = make("div");
    const description = make("dd");
    description.append(typeof value === "string" ? visible(value) : value);
    pair.append(make("dt", visible(term)), description);
    return pair;
  });
}

function moment(epoch) {
  const element = make("time");
  stamp(element, epoch);
  return element;
}
