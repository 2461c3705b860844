// Requests to the server, and the questions to an operator before them.

import {find, make, mark, put} from "./dom.js";
import {visible} from "./words.js";

const PATIENCE = 10000;  // ms for an answer.

/** Make a request; resolves to the server's answer, or to a message if there is none. */
export async function ask(method, path, body) {
  try {
    const answer = await fetch(path, {
      method,
      // No page of another site can send this header, and the server requires it.
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

/** A dialog with a form, which gets what all have. `submit(fields)` resolves to "", which closes it, or to the problem. */
export class Question {
  constructor(id, submit) {
    this.dialog = find(`#${id}`);
    this.form = find("form", this.dialog);
    const title = find("h2", this.dialog);
    title.id = `${id}-title`;
    mark(this.dialog, "aria-labelledby", title.id);
    if (find(`#${id}-meaning`)) mark(this.dialog, "aria-describedby", `${id}-meaning`);
    this.problem = make("p", "", "problem");
    this.problem.id = `${id}-problem`;
    mark(this.problem, "role", "alert");
    const cancel = make("button", "Cancel");
    cancel.type = "button";
    cancel.value = "cancel";
    // Where nothing is to be typed first, Enter changes nothing.
    cancel.autofocus = !find("[autofocus]", this.form);
    find(".buttons", this.form).before(this.problem);
    find(".buttons", this.form).prepend(cancel);
    this.describe();
    this.submit = submit;
    cancel.addEventListener("click", () => this.dialog.close());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.answer();
    });
    this.dialog.addEventListener("close", () => this.form.reset());
  }

  /** Have each field say the problem, too. */
  describe() {
    for (const each of this.form.querySelectorAll("input, select, textarea")) {
      mark(each, "aria-describedby", this.problem.id);
    }
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
