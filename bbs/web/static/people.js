// People, for operators: search for somebody, see what they are doing in numbers, and help.

import {ask, Question} from "./asking.js";
import {find, keep, make, put, stamp} from "./dom.js";
import {counted, number, short, spoken, visible} from "./words.js";

const STATES = {
  online: "online", waiting: "waits for a place", away: "logged in, away",
  suspended: "suspended", offline: "offline",
};

export class People {
  /** `done()` is called when something has been done. */
  constructor(done) {
    this.done = done;
    this.name = null;
    this.visit = 0;
    this.known = [];
    this.form = find("#search");
    this.article = find("#person");
    this.more = find("#more-people");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.search("");
    });
    this.more.addEventListener("click", () => this.search(this.behind));
    this.questions = Object.fromEntries(["kick", "suspend", "password", "delete"].map(
      (deed) => [deed, new Question(deed, (fields) => this.answer(deed, fields))],
    ));
    for (const button of this.article.querySelectorAll("button")) {
      button.addEventListener("click", () => this.begin(button.value));
    }
  }

  /** Nobody is logged in any more: what was shown was for operators. */
  close() {
    for (const {dialog} of Object.values(this.questions)) dialog.close();
    this.list([], null);
    put(find("#found"), "");
    this.form.reset();
    this.article.hidden = true;
    for (const element of this.article.querySelectorAll("h3, dl, #person-said")) put(element, "");
    for (const element of document.querySelectorAll(".whose")) put(element, "");
    this.name = null;
    this.visit += 1;  // What was asked for before is for nobody.
  }

  // Who there is.

  /** Find people, of a long list those behind a name. */
  async search(behind) {
    const fields = new FormData(this.form);
    const query = new URLSearchParams({search: fields.get("search").trim(), behind});
    if (fields.has("online")) query.set("online", "1");
    const {visit} = this;
    const {ok, said} = await ask("GET", `people?${query}`);
    if (visit !== this.visit) return;
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
    keep(
      find("#found-people"), people, ({name}) => name,
      (person) => this.entry(person),
      (item, person) => put(find("small", item), `${STATES[person.state]}${until(person)}`),
    );
  }

  entry({name}) {
    const item = make("li");
    const button = make("button", visible(name), "link");
    button.type = "button";
    button.addEventListener("click", () => this.open(name));
    item.append(button, " ", make("small"));
    return item;
  }

  // One of them.

  async open(name) {
    if (await this.show(name)) {
      put(find("#person-said"), "");
      find("#person-name").focus();
    }
  }

  /** Show somebody as they are now; whether there is anybody. */
  async show(name) {
    const {visit} = this;
    const {ok, said} = await ask("GET", `people/show?${new URLSearchParams({name})}`);
    if (visit !== this.visit) return false;
    this.article.hidden = !ok;
    put(find("#found"), ok ? find("#found").textContent : visible(said.message));
    if (!ok) return false;
    this.name = said.name;
    put(find("#person-name"), visible(said.name));
    find("dl", this.article).replaceChildren(...lines(said));
    find("[value=resume]", this.article).hidden = said.suspended === null;
    return true;
  }

  begin(deed) {
    if (deed === "resume") return this.answer(deed, {});
    const question = this.questions[deed];
    put(find(".whose", question.dialog), visible(this.name));
    question.open();
  }

  /** Have it done; resolves to what is wrong, "" if it was done. */
  async answer(deed, fields) {
    const {name} = this;
    const body = {name};
    if (deed === "password") {
      if (fields.password !== fields.again) return "The two differ: type it once more.";
      body.password = fields.password;
    }
    if (deed === "delete") body.again = fields.again;
    if (deed === "suspend") {
      body.reason = fields.reason;
      if (fields.for) body.for = Number(fields.for);
    }
    const {ok, said} = await ask("POST", `people/${deed}`, body);
    if (!ok && deed !== "resume") return said.message;
    put(find("#person-said"), visible(said.message));
    this.done();
    const there = await this.show(name);
    if (there) return "";
    // The account has gone.
    put(find("#found"), visible(said.message));
    this.list(this.known.filter((each) => each.name !== name), this.behind);
    // Not before the dialog gives the focus back to what is there no more.
    setTimeout(() => find("#people-title").focus());
    return "";
  }
}

const until = ({suspended}) => {
  if (suspended === null) return "";
  return suspended.until === null ? ", until resumed" : "";
};

/** What there is to know of somebody, as terms and values. */
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
