// Practice mode: windows of sale that come again and again, and how fast one was. Hidden for events without it.

import { at, call, serverNow } from "./api.js";
import { clock, seconds } from "./words.js";

/** Keeps the countdown to the next window; `turned(isOpen)` when one begins or ends. */
export class Practice {
  #event = null;
  #open = true;

  constructor({ turned }) {
    this.turned = turned;
    setInterval(() => this.#tick(), 250);
  }

  get isOpen() { return this.#open; }

  watch(event) {
    this.#event = event;
    this.#open = true;
    at("practice").hidden = !event.practice;
    this.#tick();
  }

  /** The ranking after a run that was paid. */
  async showResult() {
    at("ranking").hidden = true;
    if (!this.#event?.practice) return;
    const { status, body } = await call("GET", `api/events/${encodeURIComponent(this.#event.id)}/practice/result`);
    if (status !== 200) return;
    at("run").textContent = `${seconds(body.elapsedMs)} from the opening to paid: place ${body.rank} of ${body.runs}, faster than ${Math.round(body.percentile)} %.`;
    at("best").replaceChildren(...body.best.map(({ name, elapsedMs }, place) => line([place + 1, name, seconds(elapsedMs)])));
    at("ranking").hidden = false;
  }

  #tick() {
    const practice = this.#event?.practice;
    if (!practice) return;
    const now = serverNow();
    const [opens, closes, next] = [practice.opensAt, practice.closesAt, practice.nextOpensAt].map(Date.parse);
    const open = opens <= now && now < closes;
    const until = open ? closes : opens > now ? opens : next;
    at("practice-when").textContent = open ? "The window is open. It closes in" : "The next window opens in";
    at("practice-clock").textContent = clock(Math.max(0, Math.ceil((until - now) / 1000)));
    if (!open && until <= now) this.#ask();
    if (open === this.#open) return;
    this.#open = open;
    this.turned(open);
  }

  /** The times of the next window, once. */
  async #ask() {
    if (this.asking) return;
    this.asking = true;
    const event = this.#event;
    const answer = await call("GET", `api/events/${encodeURIComponent(event.id)}`);
    if (answer.status === 200 && this.#event === event) this.#event = answer.body;
    setTimeout(() => { this.asking = false; }, 1000);
  }
}

function line(cells) {
  const row = document.createElement("tr");
  row.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
  return row;
}
