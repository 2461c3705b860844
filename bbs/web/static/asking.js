// Requests to the server, and the questions to an operator before them.

import {find, put} from "./dom.js";
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

/** A dialog with a form. `submit(fields)` resolves to "", which closes it, or to the problem. */
export class Question {
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
