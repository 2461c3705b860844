// The server's events, for as long as the page is open.
//
// EventSource comes back by itself after some ends and gives up after others, and sees no end at
// all when a machine vanishes. So each end here is final, and another begins after a while; so does
// it when nothing has been heard for longer than the server is ever silent.

const KINDS = ["state", "history", "point", "news"];
const SILENCE = 15000;  // ms; a server sends its state every 5 s at least.
const FIRST_WAIT = 500;
const LONGEST_WAIT = 10000;

export class Stream {
  /** `hear(kind, data)` gets each event, `lose()` is told of each end. */
  constructor(path, hear, lose) {
    Object.assign(this, {path, hear, lose, wait: FIRST_WAIT, source: null, later: null});
    const soon = () => document.hidden || this.source || this.open();
    document.addEventListener("visibilitychange", soon);
    addEventListener("online", soon);
    this.open();
  }

  /** Begin anew, now. */
  open() {
    this.close();
    const source = new EventSource(this.path);
    this.source = source;
    this.listen();
    source.addEventListener("error", () => this.ended(source));
    source.addEventListener("bye", () => this.ended(source));
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => {
        if (source !== this.source) return;
        this.wait = FIRST_WAIT;
        this.listen();
        this.hear(kind, JSON.parse(event.data));
      });
    }
  }

  listen() {
    const {source} = this;
    clearTimeout(this.later);
    this.later = setTimeout(() => this.ended(source), SILENCE);
  }

  close() {
    clearTimeout(this.later);
    this.source?.close();
    this.source = null;
  }

  ended(source) {
    if (source !== this.source) return;
    this.close();
    this.lose();
    // Not all pages come back at the same moment.
    this.later = setTimeout(() => this.open(), this.wait * (0.5 + Math.random()));
    this.wait = Math.min(LONGEST_WAIT, this.wait * 2);
  }
}
