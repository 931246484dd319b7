// What changes while the page is open: by socket and stream, or by asking where there are none.

import { call, wait } from "./api.js";

const PING_MS = 20_000;
const ASK_MS = 3_000;
const SPREAD_MS = 2_000;

/** Stock and orders of an event: `heard(message)` for each message, `caught(event)` whenever it had to ask. */
export class Socket {
  #open = true;

  constructor(eventId, { heard, caught, connected }) {
    Object.assign(this, { eventId, heard, caught, connected });
    this.#connect();
  }

  close() {
    this.#open = false;
    this.socket?.close();
  }

  #connect() {
    const url = new URL(`ws?eventId=${encodeURIComponent(this.eventId)}`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    let again = 3000;
    let ping = 0;
    this.socket = new WebSocket(url);
    this.socket.onopen = () => {
      this.connected(true);
      ping = setInterval(() => this.socket.send('{"type":"client.ping"}'), PING_MS);
    };
    this.socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "server.bye") again = message.reconnect_in_ms;
      if (this.#open) this.heard(message);
    };
    this.socket.onclose = () => {
      clearInterval(ping);
      if (this.#open) this.#return(again + Math.random() * SPREAD_MS);
    };
  }

  async #return(ms) {
    this.connected(false);
    await wait(ms);
    if (!this.#open) return;
    const answer = await call("GET", `api/events/${encodeURIComponent(this.eventId)}`);
    if (!this.#open) return;
    if (answer.status === 200) this.caught(answer.body);
    this.#connect();
  }
}

/** Changes of a seat map: `changed(status, ids)` for each, `stale()` when the map has to be read anew. */
export class SeatStream {
  #open = true;
  #asking = 0;

  constructor(eventId, version, { changed, stale }) {
    Object.assign(this, { eventId, changed, stale });
    this.#connect(version);
  }

  close() {
    this.#open = false;
    clearTimeout(this.#asking);
    this.source?.close();
  }

  #connect(since) {
    // The browser comes back by itself after a break and says what it saw last.
    const source = new EventSource(`api/events/${encodeURIComponent(this.eventId)}/seats/stream?since=${since}`);
    this.source = source;
    source.onopen = () => clearTimeout(this.#asking);
    source.onerror = () => this.#ask();
    source.addEventListener("seats", ({ data }) => {
      const { status, seats } = JSON.parse(data);
      this.changed(status, seats);
    });
    source.addEventListener("reset", () => this.stale());
  }

  /** As long as the stream is away the map is read now and then; a stream that was refused is tried anew after that. */
  #ask() {
    clearTimeout(this.#asking);
    this.#asking = setTimeout(async () => {
      if (!this.#open || this.source.readyState === EventSource.OPEN) return;
      const version = await this.stale();
      if (!this.#open || this.source.readyState === EventSource.OPEN) return;
      if (this.source.readyState === EventSource.CLOSED && version !== undefined) this.#connect(version);
      this.#ask();
    }, ASK_MS + Math.random() * SPREAD_MS);
  }
}
