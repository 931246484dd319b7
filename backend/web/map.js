// The seat map: a grid for keyboards and screen readers, a picture to zoom and pan for everybody else.
//
// Seats are laid out once; a change of status touches attributes of that seat alone, so nothing is laid out again.

import { money, seatWords } from "./words.js";

const FINGER_PX = 16; // smaller seats are no target for a finger: a tap comes nearer first
const LARGEST = 1.6;
const STEP = 1.5;

/** Shows a map within `frame` (scrolls) and `plan` (scaled). `picked(seat)` is told of a wish to take or leave a seat. */
export class SeatMap {
  #seats = new Map();
  #rows = [];
  #current = null; // the one seat that Tab reaches
  #scale = 1;
  #fits = true;
  #touches = new Map();

  constructor(frame, plan, { picked, pointed }) {
    Object.assign(this, { frame, plan, picked, pointed });
    plan.addEventListener("click", (click) => this.#click(click));
    plan.addEventListener("keydown", (press) => this.#key(press));
    plan.addEventListener("focusin", ({ target }) => { if (target.seat) this.#enter(target.seat); });
    plan.addEventListener("pointerover", ({ target }) => { if (target.seat) pointed(target.seat); });
    frame.addEventListener("pointerdown", (touch) => this.#touch(touch));
    frame.addEventListener("pointermove", (touch) => this.#pinch(touch));
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) frame.addEventListener(end, ({ pointerId }) => this.#touches.delete(pointerId));
    frame.addEventListener("wheel", (wheel) => this.#wheel(wheel), { passive: false });
    new ResizeObserver(() => { if (this.#fits) this.fit(); else this.#measure(); }).observe(frame);
  }

  get seats() { return this.#seats; }

  /** Builds a map as `/api/events/{id}/seats` gives it, which then wants to be fitted. `tiers` are its prices from the dearest. */
  show(map, tiers) {
    this.#seats.clear();
    this.#rows = [];
    this.#current = null;
    const all = document.createDocumentFragment();
    for (const section of map.sections) {
      const name = element("div", "section-name", `Section ${section.name}`);
      const rows = section.rows.map((row) => this.#row(section, row, map.currency, tiers));
      all.append(name, ...rows);
    }
    this.plan.replaceChildren(all);
    this.#roam(this.#rows[0]?.[0]);
  }

  /** Sets what a seat is; says whether that is news. */
  set(id, status) {
    const seat = this.#seats.get(id);
    if (!seat || seat.status === status) return false;
    seat.status = status;
    dress(seat);
    return true;
  }

  choose(seat, chosen) {
    seat.chosen = chosen;
    dress(seat);
  }

  fit() {
    this.#fits = true;
    this.#zoom(Math.min(1, this.frame.clientWidth / this.plan.offsetWidth || 1));
  }

  nearer() { this.#zoomBy(STEP); }

  farther() { this.#zoomBy(1 / STEP); }

  #row(section, row, currency, tiers) {
    const line = element("div", "row");
    line.setAttribute("role", "row");
    line.style.setProperty("--tier", tiers.length > 1 ? tiers.indexOf(row.priceMinor) / (tiers.length - 1) : 0);
    const price = money(row.priceMinor, currency);
    const label = element("span", "row-name", row.name);
    label.setAttribute("aria-hidden", "true");
    const seats = row.seats.map(({ id, number, status }) => {
      const seat = { id, number, status, section: section.name, row: row.name, priceMinor: row.priceMinor, chosen: false };
      seat.words = `${seatWords(seat)}, ${price}`;
      seat.element = blank.cloneNode();
      seat.element.seat = seat;
      seat.element.dataset.number = number;
      seat.place = { row: this.#rows.length, column: 0 };
      dress(seat);
      this.#seats.set(id, seat);
      return seat;
    });
    seats.forEach((seat, column) => { seat.place.column = column; });
    this.#rows.push(seats);
    line.append(label, ...seats.map((seat) => seat.element));
    return line;
  }

  #click(click) {
    const { seat } = click.target;
    const finger = click.pointerType ? click.pointerType === "touch" : matchMedia("(pointer: coarse)").matches;
    // A click without a position is a keyboard's or a screen reader's.
    if (finger && click.detail > 0 && this.#seatPx() < FINGER_PX) return this.#zoom(1, click.clientX, click.clientY);
    if (seat) {
      this.#roam(seat);
      this.picked(seat);
    }
  }

  #key(press) {
    const { seat } = press.target;
    if (!seat || press.altKey || press.metaKey) return;
    if (press.key === "Enter" || press.key === " ") {
      press.preventDefault();
      return this.picked(seat);
    }
    const next = this.#neighbour(seat, press);
    if (!next) return;
    press.preventDefault();
    this.#roam(next);
    next.element.focus({ preventScroll: true });
    next.element.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  #neighbour(seat, { key, ctrlKey }) {
    const { row, column } = seat.place;
    const line = this.#rows[row];
    const onward = getComputedStyle(this.plan).direction === "rtl" ? -1 : 1;
    switch (key) {
      case "ArrowRight": return line[column + onward];
      case "ArrowLeft": return line[column - onward];
      case "ArrowDown": return this.#across(seat, row + 1);
      case "ArrowUp": return this.#across(seat, row - 1);
      case "Home": return ctrlKey ? this.#rows[0][0] : line[0];
      case "End": return (ctrlKey ? this.#rows.at(-1) : line).at(-1);
      default: return undefined;
    }
  }

  /** Rows are centred: straight ahead is as far from the middle. */
  #across(seat, row) {
    const from = this.#rows[seat.place.row];
    const to = this.#rows[row];
    if (!to) return undefined;
    const column = Math.round(seat.place.column + (to.length - from.length) / 2);
    return to[Math.min(to.length - 1, Math.max(0, column))];
  }

  #enter(seat) {
    this.#roam(seat);
    this.pointed(seat);
  }

  #roam(seat) {
    if (this.#current) this.#current.element.tabIndex = -1;
    this.#current = seat;
    if (seat) seat.element.tabIndex = 0;
  }

  #seatPx() { return this.#scale * (this.#current?.element.offsetWidth ?? 0); }

  #touch(touch) {
    if (touch.pointerType !== "touch") return;
    this.#touches.set(touch.pointerId, touch);
    if (this.#touches.size === 2) this.pinch = { apart: apart(this.#touches), scale: this.#scale };
  }

  #pinch(touch) {
    if (!this.#touches.has(touch.pointerId)) return;
    this.#touches.set(touch.pointerId, touch);
    if (this.#touches.size !== 2) return;
    const [one, other] = [...this.#touches.values()];
    const scale = this.pinch.scale * apart(this.#touches) / this.pinch.apart;
    this.#zoom(scale, (one.clientX + other.clientX) / 2, (one.clientY + other.clientY) / 2);
  }

  #wheel(wheel) {
    if (!wheel.ctrlKey) return;
    wheel.preventDefault();
    this.#zoom(this.#scale * Math.exp(-wheel.deltaY / 200), wheel.clientX, wheel.clientY);
  }

  /** Around the seat that was chosen last, or what is in the middle. */
  #zoomBy(factor) {
    const middle = this.#current?.chosen ? this.#current.element : this.frame;
    const { x, y, width, height } = middle.getBoundingClientRect();
    this.#zoom(this.#scale * factor, x + width / 2, y + height / 2);
  }

  /** To this scale; what is at (x, y) of the window stays there. */
  #zoom(wanted, x, y) {
    const least = Math.min(1, this.frame.clientWidth / this.plan.offsetWidth || 1);
    const scale = Math.min(LARGEST, Math.max(least, wanted));
    const before = this.plan.getBoundingClientRect();
    const grown = scale / this.#scale;
    this.#scale = scale;
    this.#fits = scale === least;
    this.#measure();
    if (x === undefined) return;
    const after = this.plan.getBoundingClientRect();
    this.frame.scrollLeft += after.x + (x - before.x) * grown - x;
    this.frame.scrollTop += after.y + (y - before.y) * grown - y;
  }

  /** The plan is scaled as a picture; the box around it takes the size it then has, so that it scrolls right. */
  #measure() {
    const box = this.plan.parentElement;
    this.plan.style.transform = `scale(${this.#scale})`;
    box.style.width = `${this.plan.offsetWidth * this.#scale}px`;
    box.style.height = `${this.plan.offsetHeight * this.#scale}px`;
    this.plan.classList.toggle("near", this.#scale >= 0.7);
  }
}

const blank = element("span", "seat");
blank.setAttribute("role", "gridcell");
blank.tabIndex = -1;

function element(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

/** What a seat looks like and is called. */
function dress(seat) {
  const state = seat.chosen ? "chosen" : seat.status === "FREE" ? "free" : "taken";
  seat.element.dataset.state = state;
  seat.element.ariaSelected = String(seat.chosen);
  seat.element.ariaDisabled = String(state === "taken");
  seat.element.ariaLabel = `${seat.words}, ${state}`;
}

function apart(touches) {
  const [one, other] = [...touches.values()];
  return Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
}
