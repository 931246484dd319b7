// Choosing seats: the map, what is chosen, and what others take meanwhile.

import { at, call } from "./api.js";
import { SeatStream } from "./live.js";
import { SeatMap } from "./map.js";
import { money, seatWords, seatsOf } from "./words.js";

/** The seats' side of the shop; `say(text)` is for who hears what others see, `warn(text)` for all, `order(wish)` asks for seats. */
export class Seats {
  #chosen = new Map();
  #event = null;
  #stream = null;
  #currency = "";
  #news = []; // changes that wait for the next picture
  #ordering = false;

  constructor({ say, warn, order }) {
    Object.assign(this, { say, warn });
    this.map = new SeatMap(at("frame"), at("plan"), {
      picked: (seat) => this.#toggle(seat),
      pointed: (seat) => { at("pointed").textContent = words(seat); },
    });
    at("nearer").onclick = () => this.map.nearer();
    at("farther").onclick = () => this.map.farther();
    at("fit").onclick = () => this.map.fit();
    at("seats-form").onsubmit = (submit) => {
      submit.preventDefault();
      order({ seatIds: [...this.#chosen.keys()] });
    };
    at("best-form").onsubmit = (submit) => {
      submit.preventDefault();
      const section = at("best-section").value;
      order({ qty: Number(at("best-qty").value), ...(section && { section }) });
    };
  }

  /** Shows the map of an event and follows it. */
  async watch(event) {
    this.#stream?.close();
    this.#stream = null;
    this.#event = event;
    this.#chosen.clear();
    if (!event.seated) return;
    const map = await this.#read(event);
    if (!map) return this.warn("The seat map could not be loaded. Load this page anew.");
    this.#draw(map);
    this.#stream = new SeatStream(event.id, map.version, {
      changed: (status, ids) => this.#hear(status, ids),
      stale: () => this.refresh(),
    });
  }

  /** Reads what every seat is now; gives the version, if it could be read. */
  async refresh() {
    const event = this.#event;
    const map = await this.#read(event);
    if (!map || event !== this.#event) return undefined;
    const seats = map.sections.flatMap((section) => section.rows).flatMap((row) => row.seats);
    if (seats.length !== this.map.seats.size) this.#draw(map);
    for (const { id, status } of seats) this.#news.push([status, id]);
    this.#apply();
    return map.version;
  }

  /** Nothing can be chosen, and nothing is lost, while an order is under way. */
  ordering(isOrdering) {
    this.#ordering = isOrdering;
    this.#basket();
  }

  /** Takes back what somebody else has, and says so; the rest of the choice stays. */
  async conflict(taken) {
    const lost = taken.map((id) => this.#chosen.get(id)).filter(Boolean);
    for (const seat of lost) this.#drop(seat);
    this.#basket();
    await this.refresh();
    return lost;
  }

  /** The choice is now an order, or given up. */
  clear() {
    for (const seat of [...this.#chosen.values()]) this.#drop(seat);
    this.#basket();
  }

  /** Chooses those of `ids` that are free. */
  choose(ids) {
    for (const id of ids) {
      const seat = this.map.seats.get(id);
      if (seat?.status === "FREE") this.#take(seat);
    }
    this.#basket();
  }

  /** Names of seats, for those who ordered them. */
  names(ids) {
    return ids.map((id) => this.map.seats.get(id)).filter(Boolean).map(seatWords);
  }

  async #read(event) {
    for (let attempt = 0; attempt < 3; attempt++) {
      const { status, body } = await call("GET", `api/events/${encodeURIComponent(event.id)}/seats`);
      if (status === 200) return body;
      await new Promise((done) => setTimeout(done, 500 * (attempt + 1)));
    }
    return null;
  }

  #draw(map) {
    this.#currency = map.currency;
    this.#chosen.clear();
    const prices = [...new Set(map.sections.flatMap((section) => section.rows.map((row) => row.priceMinor)))].sort((a, b) => b - a);
    performance.mark("map-begin");
    this.map.show(map, prices);
    performance.measure("map-built", "map-begin");
    this.map.fit();
    performance.measure("map-drawn", "map-begin");
    at("legend").replaceChildren(...legend(prices, map.currency));
    at("best-qty").replaceChildren(...Array.from({ length: this.#event.maxQty }, (_, i) => new Option(i + 1, i + 1, false, i === 1)));
    at("best-section").replaceChildren(new Option("Any", ""), ...map.sections.map(({ name }) => new Option(name, name)));
    this.#basket();
  }

  #hear(status, ids) {
    if (this.#news.length === 0) requestAnimationFrame(() => this.#apply());
    for (const id of ids) this.#news.push([status, id]);
  }

  #apply() {
    performance.mark("news-begin");
    const lost = [];
    for (const [status, id] of this.#news) {
      const seat = this.map.seats.get(id);
      // The order under way may be ours; its answer tells.
      if (status !== "FREE" && this.#chosen.has(id) && !this.#ordering) {
        lost.push(seat);
        this.#drop(seat);
      }
      this.map.set(id, status);
    }
    this.#news = [];
    performance.measure("news-applied", "news-begin");
    if (lost.length === 0) return;
    this.#basket();
    this.warn(`${lost.map(seatWords).join("; ")}: somebody else was faster. The rest of your choice is kept.`);
  }

  #toggle(seat) {
    if (this.#ordering) return;
    if (this.#chosen.has(seat.id)) {
      this.#drop(seat);
      this.say(`${seatWords(seat)} left. ${this.#total()}`);
    } else if (seat.status !== "FREE") {
      this.say(`${seatWords(seat)} is taken.`);
    } else if (this.#chosen.size >= this.#event.maxQty) {
      this.warn(`You may have ${seatsOf(this.#event.maxQty)}; leave one to take another.`);
    } else {
      this.warn("");
      this.#take(seat);
      this.say(`${seatWords(seat)} chosen. ${this.#total()}`);
    }
    this.#basket();
  }

  #take(seat) {
    this.#chosen.set(seat.id, seat);
    this.map.choose(seat, true);
  }

  #drop(seat) {
    this.#chosen.delete(seat.id);
    this.map.choose(seat, false);
  }

  #sum() {
    const minor = [...this.#chosen.values()].reduce((sum, seat) => sum + seat.priceMinor, 0);
    return money(minor, this.#currency);
  }

  #total() {
    return this.#chosen.size === 0 ? "No seats chosen." : `${seatsOf(this.#chosen.size)}, ${this.#sum()}.`;
  }

  #basket() {
    const count = this.#chosen.size;
    at("chosen").replaceChildren(...[...this.#chosen.values()].map((seat) => this.#item(seat)));
    at("chosen-none").textContent = count ? "" : `Up to ${seatsOf(this.#event.maxQty)} in one order.`;
    at("chosen-none").hidden = count > 0;
    at("chosen-count").textContent = count ? seatsOf(count) : "No seats yet";
    at("chosen-sum").textContent = count ? this.#sum() : "";
    at("seats-button").textContent = count ? `Reserve ${seatsOf(count)}` : "Reserve";
    at("seats-button").disabled = count === 0 || this.#ordering;
    at("best-button").disabled = this.#ordering;
  }

  #item(seat) {
    const item = document.createElement("li");
    const leave = Object.assign(document.createElement("button"), { type: "button", className: "small", textContent: "Leave" });
    leave.setAttribute("aria-label", `Leave ${seatWords(seat)}`);
    leave.onclick = () => {
      this.#toggle(seat);
      (at("chosen").querySelector("button") ?? at("best-qty")).focus();
    };
    item.append(words(seat), leave);
    return item;
  }
}

const words = (seat) => `${seat.words}${seat.status === "FREE" || seat.chosen ? "" : ", taken"}`;

function legend(prices, currency) {
  const signs = prices.map((price, place) => sign("free", money(price, currency), prices.length > 1 ? place / (prices.length - 1) : 0));
  return [...signs, sign("chosen", "yours"), sign("taken", "taken")];
}

function sign(state, text, tier = 0) {
  const item = document.createElement("li");
  const seat = Object.assign(document.createElement("span"), { className: "seat" });
  seat.dataset.state = state;
  seat.style.setProperty("--tier", tier);
  seat.setAttribute("aria-hidden", "true");
  item.append(seat, text);
  return item;
}
