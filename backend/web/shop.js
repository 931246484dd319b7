// The shop: which step a buyer is at, and what leads from one to the next.

import { at, beginTrace, browser, call, callUntilAnswered, isSessionOver, newKey, serverNow, tab, wait } from "./api.js";
import { EventList, set } from "./events.js";
import { Socket } from "./live.js";
import { Practice } from "./practice.js";
import { Seats } from "./seats.js";
import { clock, day, money, tickets } from "./words.js";

const POLL_MS = 1_000;
const SILENT_MS = 4_000; // a bank that takes longer is worth a word

let event = null; // as /api/events shows it
let order = null; // { id, eventId, qty, seatIds, amountMinor, currency, expiresAt, paymentId? }
let step = "buy";
let socket = null;

const say = (text) => { at("status").textContent = text; };
const warn = (text) => { at("trouble").textContent = text; };
const seats = new Seats({ say: (text) => { at("said").textContent = text; }, warn, order: placeSeats });
const list = new EventList(at("events"), choose);
const practice = new Practice({ turned: (isOpen) => { if (isOpen) seats.refresh(); showSale(); } });

function show(next) {
  if (step === next) return;
  step = next;
  for (const section of document.querySelectorAll("[data-step]")) section.hidden = section.id !== next;
  at("main").classList.toggle("wide", isWide());
  say("");
  warn("");
  const title = at(`${next}-title`);
  if (title) title.focus();
  else if (!event.seated) at("qty").focus();
}

const isWide = () => event.seated && step === "buy";

// ── What is on sale ──

function showSale() {
  at("remaining").textContent = event.remaining;
  at("held").textContent = event.held;
  at("sold").textContent = event.sold;
  showQuantities();
  at("sold-out-why").textContent = event.sold < event.total
    ? "All tickets are sold or in carts. If a reservation expires, its tickets appear here by themselves."
    : "All tickets are sold.";
  const next = !practice.isOpen ? "closed" : event.remaining === 0 ? "sold-out" : "buy";
  if (["buy", "sold-out", "closed"].includes(step)) show(next);
}

function showQuantities() {
  const select = at("qty");
  const most = Math.min(event.maxQty, event.remaining);
  // An open list does not change under the finger; the counter has the last word anyway.
  if (select.length !== most && document.activeElement !== select) {
    const chosen = Math.min(Number(select.value) || 1, most);
    select.replaceChildren(...Array.from({ length: most }, (_, i) => new Option(tickets(i + 1), i + 1, false, i + 1 === chosen)));
  }
  at("buy-sum").textContent = money((Number(select.value) || 0) * event.priceMinor, event.currency);
}

async function choose(chosen) {
  if (["hold", "paying"].includes(step)) return say("Pay or give back what you have reserved first.");
  socket?.close();
  event = chosen;
  document.title = event.name;
  at("name").textContent = event.name;
  at("when").textContent = [event.startsAt && day(event.startsAt), !event.seated && money(event.priceMinor, event.currency)].filter(Boolean).join(" · ");
  at("buy-form").hidden = event.seated;
  at("seated").hidden = !event.seated;
  warn("");
  practice.watch(event);
  if (step !== "buy") show("buy");
  at("main").classList.toggle("wide", isWide());
  list.show(event);
  showSale();
  const mapped = seats.watch(event);
  const watched = event.id;
  socket = new Socket(watched, {
    heard,
    caught: (now) => { Object.assign(event, now); showSale(); },
    connected: (isConnected) => { if (event.id === watched) at("offline").hidden = isConnected; },
  });
  await mapped;
}

function heard(message) {
  if (message.type === "stock.update" && message.eventId === event.id) {
    Object.assign(event, { remaining: message.remaining, sold: message.sold, held: message.inHold });
    list.show(event);
    showSale();
  } else if (message.type === "order.update" && message.orderId === order?.id) {
    settle(message.status);
  }
}

// ── Reserving ──

/** A key of its own for each wish, kept until it is answered: pressing again is the same purchase. */
function keyOf(wish) {
  const text = JSON.stringify(wish);
  const known = tab.read("key");
  if (known?.wish === text) return known.value;
  beginTrace();
  return tab.write("key", { wish: text, value: newKey() }).value;
}

async function placeTickets(submit) {
  submit.preventDefault();
  const qty = Number(at("qty").value);
  const wish = { eventId: event.id, qty };
  const answer = await working(at("buy-button"), "Reserving…", () => callUntilAnswered("POST", "purchase", wish, { "idempotency-key": keyOf(wish) }));
  if (answer.status !== 200) return explain(answer);
  tab.write("key", null);
  if (answer.body.status === "HOLD") {
    const { orderId: id, holdExpiresAt } = answer.body;
    const amount = { amountMinor: qty * event.priceMinor, currency: event.currency };
    return hold({ id, eventId: event.id, qty, seatIds: [], expiresAt: Date.parse(holdExpiresAt), ...amount });
  }
  event.remaining = answer.body.remaining;
  warn(tooLate(event.remaining));
  showSale();
}

const tooLate = (left) => (left > 0 ? `Only ${tickets(left)} left.` : "Somebody else was faster.");

async function placeSeats(wanted) {
  const wish = { eventId: event.id, ...wanted };
  seats.ordering(true);
  const answer = await working(null, "Reserving…", () => callUntilAnswered("POST", "api/orders", wish, { "idempotency-key": keyOf(wish) }));
  if (answer.status === 201) {
    tab.write("key", null);
    seats.clear();
    seats.ordering(false);
    return hold(fromView(answer.body));
  }
  if (answer.status === 409 && answer.body.code !== "in-flight") {
    tab.write("key", null);
    await refused(answer);
  } else {
    explain(answer);
  }
  seats.ordering(false);
}

async function refused({ body }) {
  if (body.code !== "RESERVATION_CONFLICT") return warn(`${capital(body.detail)}. Choose fewer seats or another section.`);
  // The problem names the seats that are gone.
  const taken = body.detail.split(/[\s,;]+/);
  const lost = await seats.conflict(taken);
  const names = seats.names(lost.map((seat) => seat.id));
  warn(`${names.join("; ") || "Some of these seats"}: somebody else was faster. The rest of your choice is kept; nothing is reserved yet.`);
}

const fromView = ({ orderId, eventId, qty, seatIds, amountMinor, currency, holdExpiresAt }) =>
  ({ id: orderId, eventId, qty, seatIds, amountMinor, currency, expiresAt: Date.parse(holdExpiresAt) });

// ── On hold ──

function hold(placed) {
  order = browser.write("order", placed);
  showOrder();
  at("extend-button").hidden = order.seatIds.length === 0;
  show("hold");
  tick();
}

function showOrder() {
  const names = seats.names(order.seatIds);
  at("hold-qty").textContent = `${tickets(order.qty)}, ${money(order.amountMinor, order.currency)}`;
  for (const list of [at("hold-what"), at("paid-what")]) list.replaceChildren(...names.map(named));
}

const named = (name) => Object.assign(document.createElement("li"), { textContent: name });

function tick() {
  if (step !== "hold") return;
  const left = Math.max(0, Math.ceil((order.expiresAt - serverNow()) / 1000));
  set(at("clock"), clock(left));
  // At zero the server decides; a payment under way is not interrupted.
  if (left === 0 && !at("pay-button").disabled) return atZero();
  setTimeout(tick, 250);
}

async function atZero() {
  const answer = await call("GET", `api/orders/${order.id}`);
  const longer = answer.status === 200 && answer.body.status === "HOLD" && Date.parse(answer.body.holdExpiresAt) > serverNow() + 1000;
  if (step !== "hold") return;
  if (longer) return hold({ ...order, expiresAt: Date.parse(answer.body.holdExpiresAt) });
  if (answer.status === 200 && answer.body.status === "PAID") return paid();
  forget("expired");
}

async function extend() {
  const seat = `api/reservations/${encodeURIComponent(order.eventId)}/${encodeURIComponent(order.seatIds[0])}/extend`;
  const answer = await working(at("extend-button"), "Asking for more time…", () => callUntilAnswered("POST", seat));
  if (answer.status === 410) return forget("expired");
  if (answer.status !== 200) return explain(answer);
  order = browser.write("order", { ...order, expiresAt: Date.parse(answer.body.expiresAt) });
  say("You have more time.");
}

async function giveBack() {
  const answer = await working(at("cancel-button"), "Giving back…", () => callUntilAnswered("DELETE", `api/orders/${order.id}`));
  if (answer.status !== 200 && answer.status !== 410) return explain(answer);
  forget("buy");
  await seats.watch(event);
  showSale();
  say("Given back.");
}

// ── Paying ──

/** Tickets by number are bought at once; seats by the gateway. */
function pay() {
  return order.seatIds.length ? payByGateway() : payAtOnce();
}

async function payAtOnce() {
  const answer = await working(at("pay-button"), "Paying…", () => callUntilAnswered("POST", `pay/${order.id}`));
  if (answer.status === 200) paid();
  else if (answer.status === 410) forget("expired");
  else explain(answer);
}

async function payByGateway() {
  const answer = await working(at("pay-button"), "Paying…", async () => {
    const intent = await callUntilAnswered("POST", "api/payments/intent", { orderId: order.id });
    if (intent.status >= 300 || intent.status === 0) return intent;
    order = browser.write("order", { ...order, paymentId: intent.body.paymentId });
    return callUntilAnswered("POST", "api/payments/authorize", { paymentId: order.paymentId });
  });
  if (answer.status === 410) return forget("expired");
  if (answer.status === 409) return look();
  if (answer.status !== 200 && answer.status !== 202) return explain(answer);
  if (!settlePayment(answer.body)) await watchPayment();
}

/** Until it is decided, whatever the socket says: a message may be lost, the table has the truth. */
async function watchPayment() {
  const { id, paymentId } = order;
  const began = Date.now();
  show("paying");
  at("paying-words").textContent = "Your payment is with the bank. What you reserved stays yours meanwhile.";
  while (step === "paying" && order?.id === id) {
    await wait(POLL_MS);
    if (step !== "paying" || order?.id !== id) return;
    if (Date.now() - began > SILENT_MS) {
      set(at("paying-words"), "The bank has not answered yet; we are still working on it. There is no need to pay again: if it does not answer, nothing is charged.");
    }
    const answer = await call("GET", `api/payments/${paymentId}/status`);
    if (step !== "paying" || order?.id !== id) return;
    if (answer.status === 200) settlePayment(answer.body);
    else if (isSessionOver(answer)) explain(answer);
  }
}

/** Whether the payment is decided. */
function settlePayment({ status, orderStatus }) {
  if (status === "SUCCEEDED" || orderStatus === "PAID") paid();
  else if (status === "FAILED" || status === "CANCELLED") declined();
  else if (status === "REFUNDING" || status === "REFUNDED") forget("refunded");
  else if (orderStatus === "EXPIRED") forget("expired");
  else return false;
  return true;
}

/** What a step of the order, heard by the socket or read, means for this page. */
function settle(status) {
  if (!["hold", "paying"].includes(step)) return;
  if (status === "PAID") paid();
  else if (status === "EXPIRED") forget("expired");
  else if (status === "REFUNDED") forget("refunded");
  else if (status === "CANCELLED" && step === "paying") declined();
  else if (status === "CANCELLED" && !at("cancel-button").disabled) forget("expired");
}

/** Reads the order and goes to the step it is at. */
async function look() {
  const answer = await callUntilAnswered("GET", `api/orders/${order.id}`);
  if (answer.status === 404) return forget("buy");
  if (answer.status !== 200) return explain(answer);
  const { status } = answer.body;
  order = { ...order, ...(status === "HOLD" && fromView(answer.body)) };
  if (status === "HOLD") return hold(order);
  if (status === "PAYING") return resumePayment();
  showOrder();
  step = "hold";
  settle(status);
}

async function resumePayment() {
  if (!order.paymentId) {
    const intent = await callUntilAnswered("POST", "api/payments/intent", { orderId: order.id });
    if (intent.status >= 300 || intent.status === 0) return explain(intent);
    order = browser.write("order", { ...order, paymentId: intent.body.paymentId });
  }
  showOrder();
  return watchPayment();
}

function paid() {
  browser.write("order", null);
  at("paid-qty").textContent = `${tickets(order.qty)} for ${event.name}, ${money(order.amountMinor, order.currency)}.`;
  at("order").textContent = order.id;
  show("paid");
  practice.showResult();
}

function declined() {
  const { seatIds } = order;
  forget("declined");
  at("retry-button").onclick = async () => {
    show("buy");
    await seats.watch(event);
    seats.choose(seatIds);
    await placeSeats({ seatIds });
  };
}

function forget(next) {
  browser.write("order", null);
  show(next);
}

// ── Around it ──

/** Runs one call for a button, which cannot be pressed meanwhile. */
async function working(button, words, work) {
  if (button) button.disabled = true;
  warn("");
  say(words);
  const answer = await work();
  if (button) button.disabled = false;
  say("");
  return answer;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function explain(answer) {
  const { status, body } = answer;
  if (isSessionOver(answer)) return show("ended");
  if (status === 0) return warn("No connection. Check your network and try again; you will not buy twice.");
  const again = answer.wait ? ` Try again in ${answer.wait} s.` : "";
  warn(`${capital(body.detail ?? `Something went wrong (${status})`)}.${again}${body.trace_id ? ` Reference: ${body.trace_id}` : ""}`);
}

async function again() {
  order = null;
  show("buy");
  await seats.watch(event);
  showSale();
}

/** Another tab of this browser placed, changed or ended the order. */
function otherTab({ key }) {
  if (key !== "order") return;
  const placed = browser.read("order");
  if (placed && placed.eventId === event?.id && ["buy", "hold"].includes(step)) {
    order = placed;
    if (step === "hold") return;
    look();
  } else if (!placed && order && ["hold", "paying"].includes(step)) {
    look();
  }
}

async function start() {
  at("buy-form").hidden = true; // until it is known how the event is sold
  say("Loading…");
  const answer = await callUntilAnswered("GET", "api/events");
  if (answer.status !== 200) return explain(answer);
  say("");
  const { events } = answer.body;
  list.events = events;
  if (events.length === 0) return say("Nothing is on sale at the moment.");
  const placed = browser.read("order");
  const wanted = placed?.eventId ?? new URLSearchParams(location.search).get("event");
  const first = events.find((one) => one.id === wanted) ?? events[0];
  // The list has every event's stock, the event itself all there is to know.
  const whole = await call("GET", `api/events/${encodeURIComponent(first.id)}`);
  await choose(whole.status === 200 ? whole.body : first);
  list.follow(() => step !== "ended");
  if (placed?.eventId !== first.id) return;
  order = placed;
  await look();
}

at("buy-form").onsubmit = placeTickets;
at("qty").onchange = showQuantities;
at("pay-button").onclick = pay;
at("extend-button").onclick = extend;
at("cancel-button").onclick = giveBack;
at("return").onclick = () => location.reload();
for (const button of document.querySelectorAll("[data-again]")) button.onclick = again;
addEventListener("storage", otherTab);
start();
