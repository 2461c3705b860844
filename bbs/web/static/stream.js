// The server's events, for as long as the page is open.
//
// EventSource reconnects by itself after some ends and gives up after others, and notices no end at
// all when a machine vanishes. So each end here is final, and another stream begins after a while.
// So it does after a longer silence than the server ever has. A page that nobody sees has no
// stream: with HTTP/1.1 all pages of a browser share six connections, which streams would occupy.

const KINDS = ["state", "history", "point", "news"];
const SILENCE = 15000;  // ms; a server sends its state every 5 s at least.
const FIRST_WAIT = 500;
const LONGEST_WAIT = 10000;

export class Stream {
  /** `hear(kind, data)` is called for each event, `lose(why)` for each end. */
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

  /** Begin a new stream now. */
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
    // So that not all pages reconnect at the same moment.
    this.later = setTimeout(() => this.open(), this.wait * (0.5 + Math.random()));
    this.wait = Math.min(LONGEST_WAIT, this.wait * 2);
    const why = this.heard ? "" : await this.refusal();
    if (why && !this.heard) this.lose(why);
  }

  /** The server's answer instead of a stream, which an EventSource does not show. */
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
