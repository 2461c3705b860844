// The server's events, for as long as the page is open.
//
// EventSource comes back by itself after some ends and gives up after others, and sees no end at
// all when a machine vanishes. So each end here is final, and another begins after a while; so does
// it when nothing has been heard for longer than the server is ever silent. A page that nobody sees
// has no stream: of one browser's pages HTTP/1.1 has six connections together, which all would hold.

const KINDS = ["state", "history", "point", "news"];
const SILENCE = 15000;  // ms; a server sends its state every 5 s at least.
const FIRST_WAIT = 500;
const LONGEST_WAIT = 10000;

export class Stream {
  /** `hear(kind, data)` gets each event, `lose(why)` is told of each end. */
  constructor(path, hear, lose) {
    Object.assign(this, {path, hear, lose, wait: FIRST_WAIT, source: null, later: null});
    const soon = () => {
      if (document.hidden) this.close();
      else if (!this.source) this.open();
    };
    document.addEventListener("visibilitychange", soon);
    addEventListener("online", soon);
    this.open();
  }

  /** Begin anew, now. */
  open() {
    this.close();
    if (document.hidden) return;
    const source = new EventSource(this.path);
    this.source = source;
    this.heard = false;
    this.listen();
    source.addEventListener("error", () => this.ended(source));
    source.addEventListener("bye", () => this.ended(source));
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => {
        if (source !== this.source) return;
        this.heard = true;
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

  async ended(source) {
    if (source !== this.source) return;
    this.close();
    this.lose("");
    // Not all pages come back at the same moment.
    this.later = setTimeout(() => this.open(), this.wait * (0.5 + Math.random()));
    this.wait = Math.min(LONGEST_WAIT, this.wait * 2);
    const why = this.heard ? "" : await this.refusal();
    if (why && !this.heard) this.lose(why);
  }

  /** What the server says instead of a stream, which an EventSource keeps to itself. */
  async refusal() {
    const enough = new AbortController();
    setTimeout(() => enough.abort(), LONGEST_WAIT);
    try {
      const answer = await fetch(this.path, {signal: enough.signal, cache: "no-store"});
      return answer.ok ? "" : (await answer.text()).trim();
    } catch {
      return "";
    } finally {
      enough.abort();
    }
  }
}
