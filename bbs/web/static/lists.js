// The lists of a service's own things, for operators, and the acts on what is in them. The server
// says which there are, and all words; a service without any has no place for them on its page.

import {ask, Question} from "./asking.js";
import {copy, find, make, mark, put, reconcile, stamp} from "./dom.js";
import {NOTHING, number, visible} from "./words.js";

const SHORT = 80;  // Characters of the name of a button in a row.

export class Lists {
  /** `done(message)` is called after an act. */
  constructor(done) {
    this.done = done;
    this.place = find("#lists");
    this.lists = [];
    this.visit = 0;
    if (this.place) this.question = new Question("act", (fields) => this.answer(fields));
  }

  async open() {
    const visit = this.visit += 1;
    const {ok, said} = await ask("GET", "lists");
    if (visit !== this.visit) return;
    if (!ok) return put(this.place, visible(said.message));
    this.lists = said.map((each) => new List(each, (...asked) => this.begin(...asked)));
    this.place.replaceChildren(...this.lists.map(({section}) => section));
  }

  /** Clear everything after a logout: it was for operators only. */
  close() {
    if (!this.place) return;
    this.visit += 1;  // Drops the answers to earlier requests.
    this.question.dialog.close();
    for (const each of this.lists) each.made += 1;
    this.lists = [];
    this.place.replaceChildren();
    find(".fields", this.question.dialog).replaceChildren();
    for (const each of ["h2", "#act-meaning"]) put(find(each, this.question.dialog), "");
  }

  /** Read again what may have changed, or could not be read. */
  refresh() {
    if (this.place && !this.lists.length) this.open();
    for (const each of this.lists) each.refresh();
  }

  /** Ask before an act on a row, or on none. */
  begin(list, act, row) {
    this.asked = {list, act, row};
    const {dialog} = this.question;
    put(find("h2", dialog), visible(act.title));
    put(find(".whose", dialog), row ? visible(row.cells[0]) : "");
    find(".whose", dialog).parentElement.hidden = !row;
    put(find("#act-meaning", dialog), visible(act.means));
    const again = {name: "again", label: "Type the name once more", most: 1000};
    const fields = act.again ? [...act.fields, again] : act.fields;
    find(".fields", dialog).replaceChildren(...fields.map(field));
    this.question.describe();
    const submit = find("[type=submit]", dialog);
    put(submit, visible(act.label));
    mark(submit, "class", act.again ? "danger" : "main");
    this.question.open();
    (find(".fields input, .fields textarea", dialog) ?? find("[value=cancel]", dialog)).focus();
  }

  /** Carry an act out; resolves to the problem, "" if there is none. */
  async answer(fields) {
    const {list, act, row} = this.asked;
    const body = row ? {key: row.key} : {};
    for (const {name, kind} of act.fields) {
      // A time without a zone is of the reader's.
      body[name] = kind === "time" && fields[name] ? new Date(fields[name]) / 1000 : fields[name];
    }
    // A character that is shown as an escape can only be typed as the escape.
    if (act.again) body.again = fields.again === visible(row.key) ? row.key : fields.again;
    const {ok, said} = await ask("POST", `lists/${list.name}/${act.name}`, body);
    if (!ok) return said.message;
    put(find(".list-said", list.section), visible(said.message));
    list.isLong = false;
    this.done();
    return "";
  }
}

class List {
  /** `act(list, act, row)` is called when an operator asks for an act. */
  constructor(declared, act) {
    Object.assign(this, declared);
    this.act = act;
    this.rows = [];
    this.wanted = this.behind = "";
    this.isLong = false;  // More than the first part is shown, or asked for.
    this.made = 0;  // Requests: only the answer to the last counts.
    this.section = copy("list");
    const title = find("h2", this.section);
    title.id = `list-${this.name}`;
    put(title, visible(this.title));
    for (const each of [this.section, ...this.section.querySelectorAll(".scrolls, table")]) {
      mark(each, "aria-labelledby", title.id);
    }
    put(find(".means", this.section), visible(this.means));
    find(".heading", this.section).append(...this.adds.map((each) => this.button(each, null)));
    find("thead tr", this.section).append(
      ...this.columns.map(({title: text, kind}) => head(text, kind)),
      ...(this.acts.length ? [head("What you may do", "acts")] : []),
    );
    const form = find("form", this.section);
    form.hidden = !this.search;
    find("label", form).prepend(`${visible(this.search)} `);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.wanted = find("input", form).value.trim();
      this.read("");
    });
    this.more = find(".more-rows", this.section);
    this.more.addEventListener("click", () => this.read(this.behind));
    this.read("");
  }

  /** Read the first part again, unless somebody reads on. */
  refresh() {
    if (!this.isLong) this.read("");
  }

  async read(behind) {
    const made = this.made += 1;
    const before = this.isLong;
    this.isLong = behind !== "";
    const query = new URLSearchParams({search: this.wanted, behind});
    const {ok, said} = await ask("GET", `lists/${this.name}?${query}`);
    if (made !== this.made) return;
    put(find(".problem", this.section), ok ? "" : visible(said.message));
    if (ok) this.show(this.isLong ? [...this.rows, ...said.rows] : said.rows, said.more);
    else this.isLong &&= before;
  }

  show(rows, more) {
    this.rows = rows;
    this.behind = more;
    this.more.hidden = more === null;
    find("table", this.section).hidden = !rows.length;
    put(find(".none", this.section), rows.length ? "" : this.wanted ? "Nothing found." : "None.");
    reconcile(
      find("tbody", this.section), rows, ({key}) => key, (row) => this.line(row),
      (line, {cells}) => cells.forEach((cell, at) => fill(line.children[at], cell, this.columns[at])),
      () => find("h2", this.section).focus(),
    );
  }

  line(row) {
    const line = make("tr");
    mark(line, "role", "row");
    this.columns.forEach(({title, kind}, at) => {
      const cell = make(at ? "td" : "th");
      mark(cell, "role", at ? "cell" : "rowheader");
      if (at) mark(cell, "data-label", visible(title));
      else mark(cell, "scope", "row");
      if (kind === "number") cell.className = "number";
      line.append(cell);
    });
    if (this.acts.length) {
      const cell = make("td", "", "acts");
      mark(cell, "role", "cell");
      cell.append(...this.acts.map((each) => this.button(each, row)));
      line.append(cell);
    }
    return line;
  }

  /** A button for an act on a row, or on none. */
  button(act, row) {
    const button = make("button", visible(act.label), act.again ? "danger" : "");
    button.type = "button";
    if (row) mark(button, "aria-label", visible(`${act.label} ${row.cells[0]}`.slice(0, SHORT)));
    button.addEventListener("click", () => this.act(this, act, row));
    return button;
  }
}

function head(title, kind) {
  const cell = make("th", visible(title), ["number", "acts"].includes(kind) ? kind : "");
  mark(cell, "role", "columnheader");
  mark(cell, "scope", "col");
  return cell;
}

function fill(cell, value, {kind}) {
  if (typeof value !== "number") return put(cell, value === null ? NOTHING : visible(value));
  if (kind !== "time") return put(cell, number(value));
  if (!find("time", cell)) cell.replaceChildren(make("time"));
  stamp(find("time", cell), value);
}

function field({name, label, kind, most, optional}) {
  const line = make("label", `${visible(label)} `);
  const input = make(kind === "lines" ? "textarea" : "input");
  input.name = name;
  input.required = !optional;
  if (kind === "time") {
    input.type = "datetime-local";
  } else {
    input.maxLength = most;
    if (kind === "lines") input.rows = 4;
    input.autocomplete = "off";
    input.autocapitalize = "none";
    input.spellcheck = false;
  }
  line.append(input);
  return line;
}
