// Chooses the servers in the table when there are more than the page gets: those that need
// attention first, or those that an operator looks for.

import {find, put} from "./dom.js";
import {counted, number} from "./words.js";

export class Finding {
  /** `draw(servers)` is called with the servers to show. */
  constructor(draw) {
    this.draw = draw;
    this.form = find("#find-server");
    this.field = find("input", this.form);
    this.state = null;
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.field.addEventListener("input", () => this.show(this.state));
  }

  get text() {
    return this.state.operator === null ? "" : this.field.value.trim();
  }

  /** Show a new snapshot. */
  async show(state) {
    this.state = state;
    const {servers, states} = state;
    const all = Object.values(states).reduce((sum, count) => sum + count, 0);
    const some = servers.length < all;
    this.form.hidden = !some && !this.text;
    if (!this.text) {
      const first = "first those that need attention";
      put(find("p", this.form), some ? `${number(servers.length)} are shown, ${first}.` : "");
      return this.draw(servers);
    }
    const {text} = this;
    let found = null;
    try {
      const answer = await fetch(`state?search=${encodeURIComponent(text)}`);
      if (answer.ok) found = (await answer.json()).servers;
    } catch {
      return;  // The page itself shows that there is no connection.
    }
    if (found === null || text !== this.text) return;
    put(find("p", this.form), `${counted(found.length, "server", "servers")} found.`);
    this.draw(found);
  }
}
