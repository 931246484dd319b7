// The list of what is on sale, shown if there is a choice.

import { call, wait } from "./api.js";
import { day, money } from "./words.js";

const LIST_MS = 10_000;

export const set = (element, text) => { if (element.textContent !== text) element.textContent = text; };

/** Buttons in `root`; `chosen(event)` is told of a choice. */
export class EventList {
  events = [];
  #current = null;

  constructor(root, chosen) { Object.assign(this, { root, chosen }); }

  /** Shows the list with what is known of the event that is on show. */
  show(current) {
    this.#current = current;
    const { root, events } = this;
    root.hidden = events.length < 2;
    if (root.hidden) return;
    if (root.childElementCount !== events.length) root.replaceChildren(...events.map(() => this.#button()));
    events.forEach((event, place) => {
      if (event.id === current.id) Object.assign(event, current);
      this.#dress(root.children[place], event);
    });
  }

  /** Reads the stock of all events now and then, as long as `isWanted()`. */
  async follow(isWanted) {
    for (;;) {
      await wait(LIST_MS);
      if (!isWanted()) return;
      if (this.events.length < 2 || document.hidden) continue;
      const { status, body } = await call("GET", "api/events");
      if (status !== 200) continue;
      this.events = body.events;
      this.show(this.#current);
    }
  }

  #button() {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.append(document.createElement("strong"), Object.assign(document.createElement("span"), { className: "soft" }));
    button.onclick = () => this.chosen(this.events.find((event) => event.id === button.dataset.id));
    return button;
  }

  #dress(button, event) {
    const [name, facts] = button.children;
    const price = (event.seated ? "seats about " : "") + money(event.priceMinor, event.currency);
    const left = event.remaining ? `${event.remaining} left` : "sold out";
    button.dataset.id = event.id;
    if (event.id === this.#current.id) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
    set(name, event.name);
    set(facts, [event.startsAt && day(event.startsAt), price, left].filter(Boolean).join(" · "));
  }
}
