// The waiting page alone, in a real browser, against a server played by the test: every state it can show, and how
// it behaves when that server refuses, falls silent or goes away.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { gzipSync } from "node:zlib";
import { desktop, launch, phone, pictures, root } from "./browser.mjs";

const site = "http://tickets.example.com";
const source = await readFile(`${root}/proxy/web/waiting/page.html`, "utf8");
const patience = 15_000;
const interrupted = "The connection is interrupted. Your place is kept; this page connects again by itself.";

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

// With an estimate the position moves between pushes; without one it stands still.
const moving = { estimate: { p50_seconds: 100, p90_seconds: 175 } };
const standing = (change) => ({
  room: "e1", state: "waiting", position: 1240, ahead: 1239, waiting: 51873, estimate: null,
  progress: 0.42, rate_per_minute: 750, paused: null, message: null, claim_expires_at: null, opens_at: null,
  close_reason: null, next_update_seconds: 2, as_of: new Date().toISOString(), ...change,
});

test("the page is one request, small, and runs under a policy that names its script and style by hash", async () => {
  assert.ok(gzipSync(source, { level: 9 }).length < 8 * 1024, "compressed under 8 KiB");
  for (const name of ["ROOM", "QUEUE_PATH", "REFRESH_SECONDS", "STANDING_TEXT"]) {
    assert.equal(source.split(`{{${name}}}`).length, 2, `${name} stands once`);
  }
  assert.ok(![...source.matchAll(/<(script|style)>([^]*?)<\/\1>/g)].some(([, , text]) => text.includes("{{")));
  assert.doesNotMatch(source.replace(/<(script|style)>[^]*?<\/\1>/g, ""), /\s(style|on[a-z]+)=/);

  const visit = await open({ join: () => standing() });
  await visit.heading("You are in line");
  await visit.counts(() => visit.sockets.length, 1);
  assert.deepEqual(visit.requests, ["/sale", "/_queue/join", "/_queue/ws"]);
  assert.deepEqual(visit.complaints, []);
  await visit.close();
});

test("a waiting visitor sees position, range, progress and message, and the position falls between pushes", async () => {
  const visit = await open({ join: () => standing({ ...moving, message: "Have your card at hand." }) });
  await visit.reads("#wait", "about 1–3 minutes");
  await visit.reads("#message", "Have your card at hand.");
  await pictures(visit.page, "page-waiting");
  await visit.until(() => Number(document.querySelector("#big").textContent.replace(",", "")) < 1230);
  assert.match(await visit.page.title(), /^1,2\d\d in line$/);
  await visit.close();
});

test("a position never grows on one screen", async () => {
  const visit = await open({ join: () => standing({ position: 40, ahead: 39 }) });
  await visit.reads("#big", "40");
  await visit.push({ type: "queue.update", ...standing({ position: 12, ahead: 11 }) });
  await visit.reads("#big", "12");
  await visit.push({ type: "queue.update", ...standing({ position: 15, ahead: 14, message: "later" }) });
  await visit.reads("#message", "later");
  await visit.reads("#big", "12");
  await visit.close();
});

test("a place that is still being secured shows the length of the line and no position", async () => {
  const visit = await open({ join: () => standing({ state: "securing", position: null, ahead: null, progress: null }) });
  await visit.heading("Your place is safe");
  assert.match(await visit.page.textContent("#lead"), /51,873 people/);
  await visit.hides("#big");
  await pictures(visit.page, "page-securing");
  await visit.close();
});

test("before the opening a countdown runs", async () => {
  const opens_at = new Date(Date.now() + 754_000).toISOString();
  const visit = await open({ join: () => standing({ state: "prequeue", position: null, ahead: null, progress: null, opens_at }) });
  await visit.heading("You are here in good time");
  assert.match(await visit.page.textContent("#big"), /^12:3\d$/);
  await pictures(visit.page, "page-prequeue");
  await visit.until(() => document.querySelector("#big").textContent < "12:31");
  await visit.close();
});

test("a pause gives the operator's reason and stops the countdown", async () => {
  const visit = await open({ join: () => standing() });
  await visit.reads("#big", "1,240");
  await visit.push({ type: "queue.paused", paused: { since: new Date().toISOString(), reason: "The hall is being checked" } });
  await visit.reads("#notice", "Paused: The hall is being checked\nYour place is kept.");
  await visit.reads("#wait", "paused");
  await pictures(visit.page, "page-paused");
  await visit.push({ type: "queue.paused", paused: null });
  await visit.hides("#notice");
  await visit.close();
});

test("a turn is acknowledged and loads the original address, its query and fragment kept", async () => {
  const visit = await open({ join: () => standing({ position: 1, ahead: 0 }), path: "/sale?seat=7#row" });
  await visit.reads("#big", "1");
  visit.admit();
  await visit.push({ type: "queue.turn", ...standing({ state: "turn", position: null, ahead: null }) });
  await visit.heading("It is your turn");
  assert.equal(await visit.page.title(), "It is your turn!");
  await pictures(visit.page, "page-turn");
  await visit.reads("h1", "The shop");
  assert.equal(visit.page.url(), `${site}/sale?seat=7#row`);
  assert.deepEqual(visit.said, [{ type: "client.ack" }]);
  await visit.close();
});

test("a browser that comes back from every turn without a pass is told about cookies instead of looping", async () => {
  const visit = await open({ join: () => standing({ state: "turn", position: null, ahead: null }) });
  await visit.heading("Cookies are blocked");
  await pictures(visit.page, "page-blocked");
  assert.equal(visit.requests.filter((path) => path === "/sale").length, 4);
  await visit.close();
});

test("an expired place offers a new one", async () => {
  let joins = 0;
  const visit = await open({ join: () => (joins++ ? standing({ position: 9, ahead: 8 }) : standing({ state: "expired", position: null, ahead: null })) });
  await visit.heading("Your place has expired");
  await pictures(visit.page, "page-expired");
  await visit.press("Take a new place");
  await visit.reads("#big", "9");
  await visit.close();
});

test("a closed room says why", async () => {
  const visit = await open({ join: () => standing({ state: "closed", position: null, ahead: null, close_reason: "Every ticket is sold." }) });
  await visit.heading("Closed");
  await visit.reads("#lead", "Every ticket is sold.");
  await visit.close();
});

test("a full room is tried again when the server said", async () => {
  let tries = 0;
  const full = { status: 503, headers: { "Retry-After": "1" }, json: { code: "full" } };
  const visit = await open({ join: () => (tries++ ? standing() : full) });
  await visit.heading("The waiting room is full");
  await visit.reads("#big", "1,240");
  await visit.close();
});

test("a tab that another one replaced does not reconnect by itself", async () => {
  const visit = await open({ join: () => standing() });
  await visit.reads("#big", "1,240");
  await visit.hangUp(4409);
  await visit.heading("Open in another tab");
  await visit.page.waitForTimeout(2500); // the wait is the subject: a reconnect would have come by now
  assert.equal(visit.sockets.length, 1);
  await visit.press("Wait here instead");
  await visit.reads("#big", "1,240");
  await visit.counts(() => visit.sockets.length, 2);
  await visit.close();
});

test("a server without the ticket makes the page join again, and never helping means cookies", async () => {
  const visit = await open({ join: () => standing(), socket: (socket) => socket.close({ code: 4401 }) });
  await visit.heading("Cookies are blocked");
  assert.equal(visit.requests.filter((path) => path === "/_queue/join").length, 3);
  await visit.close();
});

test("a restart keeps the place on the screen, and the page comes back when told, though the next server knows less", async () => {
  const visit = await open({ join: () => standing() });
  await visit.reads("#big", "1,240");
  const told = Date.now();
  await visit.push({ type: "server.bye", reconnect_in_ms: 4500 });
  await visit.hangUp(1012);
  await visit.reads("#notice", interrupted);
  assert.equal(await visit.page.innerText("#big"), "1,240");
  await pictures(visit.page, "page-restart");
  await visit.counts(() => visit.sockets.length, 2);
  assert.ok(Date.now() - told >= 4400, `back after ${Date.now() - told} ms`);
  await visit.hides("#notice");
  // It says what it shows, which another server could not know.
  assert.deepEqual(visit.sockets.map((opened) => new URL(opened.url()).searchParams.get("shown")), ["1240", "1240"]);
  // A server that has just started does not know the line yet.
  await visit.push({ type: "queue.update", ...standing({ position: null, ahead: null, progress: null, message: "new" }) });
  await visit.reads("#message", "new");
  await visit.heading("You are in line");
  assert.equal(await visit.page.innerText("#big"), "1,240");
  assert.ok(await visit.page.isVisible("#bar"));
  await visit.push({ type: "queue.update", ...standing({ position: 1238, ahead: 1237 }) });
  await visit.reads("#big", "1,238");
  assert.deepEqual(visit.complaints, []);
  await visit.close();
});

test("a server that says goodbye and then nothing more is left at its word", async () => {
  const visit = await open({ join: () => standing() });
  await visit.reads("#big", "1,240");
  await visit.push({ type: "server.bye", reconnect_in_ms: 200 });
  await visit.counts(() => visit.sockets.length, 2);
  await visit.close();
});

test("after a lost socket the page waits longer each time, by chance, and then asks without one", async () => {
  const dialled = [];
  const visit = await open({
    join: () => standing(),
    socket: (socket) => { dialled.push(Date.now()); if (dialled.length > 1) socket.close({ code: 1011 }); },
    status: () => standing({ position: 700, ahead: 699 }),
  });
  await visit.reads("#big", "1,240");
  const lost = Date.now();
  await visit.hangUp(1006);
  await visit.reads("#big", "700");
  const [first, second] = [dialled[1] - lost, dialled[2] - dialled[1]];
  assert.ok(first >= 950 && first < 3000, `the first retry after ${first} ms`);
  assert.ok(second >= 1900 && second < 5000, `the second retry after ${second} ms`);
  await visit.close();
});

test("a network that comes back is used at once", async () => {
  let down = false;
  const visit = await open({
    join: () => standing(), status: () => (down ? null : standing({ position: 700, ahead: 699 })),
    socket: (socket) => { if (down) socket.close({ code: 1011 }); },
  });
  await visit.reads("#big", "1,240");
  down = true;
  await visit.hangUp(1006);
  await visit.counts(() => visit.requests.filter((path) => path === "/_queue/status").length, 1);
  down = false;
  const dialled = visit.sockets.length;
  const back = Date.now();
  await visit.page.evaluate(() => dispatchEvent(new Event("online")));
  await visit.counts(() => visit.sockets.length, dialled + 1);
  assert.ok(Date.now() - back < 1000, `after ${Date.now() - back} ms`);
  await visit.close();
});

test("a phone that wakes up does not trust the socket it fell asleep with", async () => {
  const visit = await open({ join: () => standing({ next_update_seconds: 60 }) });
  await visit.reads("#big", "1,240");
  await visit.counts(() => visit.sockets.length, 1);
  const wake = (slept) => visit.page.evaluate((slept) => {
    const real = Date.now;
    Date.now = () => real() + slept;
    document.dispatchEvent(new Event("visibilitychange"));
  }, slept);
  await wake(5_000);
  await visit.page.waitForTimeout(500); // the wait is the subject: a look at another tab is no reason to dial
  assert.equal(visit.sockets.length, 1);
  await wake(20_000);
  await visit.counts(() => visit.sockets.length, 2);
  assert.equal(await visit.page.innerText("#big"), "1,240");
  await visit.close();
});

test("a socket that never opens is given up", async () => {
  const visit = await open({
    join: () => standing(),
    before: (page) => page.addInitScript(() => {
      window.dials = 0;
      window.WebSocket = class { static CONNECTING = 0; static OPEN = 1; readyState = 0; constructor() { window.dials += 1; } close() {} };
    }),
  });
  await visit.reads("#big", "1,240");
  assert.equal(await visit.page.evaluate(() => window.dials), 1);
  await visit.page.evaluate(() => {
    const real = Date.now;
    Date.now = () => real() + 11_000;
  });
  await visit.until(() => window.dials === 2);
  await visit.close();
});

test("without sockets the page polls and still moves on", async () => {
  const visit = await open({
    join: () => standing(), socket: (socket) => socket.close({ code: 1013 }),
    status: () => standing({ position: 700, ahead: 699 }),
  });
  await visit.reads("#big", "700");
  await visit.close();
});

test("a lost connection keeps the position, says the place is kept, and comes back", async () => {
  let down = false;
  const visit = await open({
    join: () => (down ? null : standing()), status: () => (down ? null : standing()),
    socket: (socket) => { if (down) socket.close({ code: 1011 }); },
  });
  await visit.reads("#big", "1,240");
  down = true;
  await visit.hangUp(1011);
  await visit.reads("#notice", interrupted);
  assert.ok(await visit.page.isVisible("#big"));
  await pictures(visit.page, "page-lost");
  down = false;
  await visit.hides("#notice");
  await visit.close();
});

test("dark, phone-sized and without motion it is still the same page, and nothing is cut off", async () => {
  const visit = await open({ join: () => standing({ position: 1_240_000, ahead: 1_239_999 }), colorScheme: "dark", viewport: phone });
  await visit.reads("#big", "1,240,000");
  await pictures(visit.page, "page-dark");
  await visit.page.setViewportSize({ width: 320, height: 480 });
  assert.ok(await visit.page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await visit.close();
});

test("people who listen hear a change of state, not every second", async () => {
  const visit = await open({ join: () => standing(moving) });
  const heard = () => visit.page.textContent("#heard");
  await visit.until(() => document.querySelector("#heard").textContent);
  const first = await heard();
  assert.match(first, /^Your position is 1,2\d\d\. Estimated wait: about 1–3 minutes\.$/);
  await visit.until(() => document.querySelector("#big").textContent < "1,230");
  assert.equal(await heard(), first);
  await visit.push({ type: "queue.paused", paused: { since: new Date().toISOString(), reason: null } });
  await visit.until(() => document.querySelector("#heard").textContent.includes("Paused for a moment"));
  await visit.close();
});

test("without JavaScript the server's words are shown and the page looks again by itself", async () => {
  const visit = await open({ javaScriptEnabled: false, refresh: 1 });
  await visit.reads("#lead", "You are number 12 in line.");
  await pictures(visit.page, "page-plain");
  visit.admit();
  await visit.reads("h1", "The shop");
  await visit.close();
});

// Opens the page in a browser of its own, with the server played by `join`, `status` and `socket`: each gives a
// standing, a `{status, headers, json}`, or null for a connection that breaks.
async function open({ join, status = join, socket = () => {}, before = () => {}, path = "/sale", refresh = 30, ...options }) {
  const context = await browser.newContext({ viewport: desktop, reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const visit = { page, requests: [], complaints: [], sockets: [], said: [] };
  let admitted = false;
  page.on("console", (line) => line.type() === "error" && visit.complaints.push(line.text()));
  page.on("pageerror", (error) => visit.complaints.push(String(error)));

  await context.route("**/*", async (route) => {
    const { pathname } = new URL(route.request().url());
    visit.requests.push(pathname);
    if (pathname === "/_queue/join") return answer(route, join());
    if (pathname === "/_queue/status") return answer(route, status());
    if (admitted) return route.fulfill({ contentType: "text/html", body: "<h1>The shop</h1>" });
    return route.fulfill({ contentType: "text/html", headers: { "Content-Security-Policy": policy }, body: filled(refresh) });
  });
  await page.routeWebSocket(/\/_queue\/ws/, (opened) => {
    visit.requests.push("/_queue/ws");
    visit.sockets.push(opened);
    opened.onMessage((text) => visit.said.push(JSON.parse(text)));
    socket(opened);
  });
  await before(page);

  Object.assign(visit, {
    admit: () => { admitted = true; },
    push: async (message) => (await socketOf(visit)).send(JSON.stringify(message)),
    hangUp: async (code) => (await socketOf(visit)).close({ code }),
    reads: (selector, text) => page.waitForFunction(
      ([selector, text]) => document.querySelector(selector)?.innerText.trim() === text, [selector, text], { timeout: patience, polling: 100 },
    ).catch(async () => assert.equal(await page.locator(selector).innerText(), text)),
    heading: (text) => visit.reads("h1", text),
    press: (name) => page.getByRole("button", { name }).click(),
    hides: (selector) => page.locator(selector).waitFor({ state: "hidden", timeout: patience }),
    until: (condition) => page.waitForFunction(condition, undefined, { timeout: patience, polling: 100 }),
    counts: (count, wanted) => eventually(() => count() >= wanted, `a count of ${wanted}, not ${count()}`),
    close: () => context.close(),
  });
  await page.goto(site + path);
  return visit;
}

async function answer(route, reply) {
  if (reply === null) return route.abort("connectionrefused");
  if (reply.status) return route.fulfill({ status: reply.status, headers: reply.headers, json: reply.json });
  return route.fulfill({ json: reply });
}

async function socketOf(visit) {
  await eventually(() => visit.sockets.length > 0, "an open socket");
  return visit.sockets.at(-1);
}

async function eventually(condition, what) {
  const deadline = Date.now() + patience;
  while (!condition()) {
    assert.ok(Date.now() < deadline, `waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function filled(refresh) {
  const values = { ROOM: "e1", QUEUE_PATH: "/_queue", REFRESH_SECONDS: refresh, STANDING_TEXT: "You are number 12 in line." };
  return source.replace(/\{\{([A-Z_]+)\}\}/g, (_, name) => values[name]);
}

// As the edge sends it.
const policy = [
  "default-src 'none'", "connect-src 'self'", "img-src data:", "base-uri 'none'", "form-action 'none'",
  `script-src ${hashOf("script")}`, `style-src ${hashOf("style")}`,
].join("; ");

function hashOf(element) {
  const [, text] = source.match(new RegExp(`<${element}>([^]*?)</${element}>`));
  return `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
}
