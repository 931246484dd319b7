// A visitor's whole way through the real system: a full room, the line, the turn, the shop, bought and paid.
// `run` starts the system with one slot and says where it is in SITE.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { request } from "playwright-core";
import { desktop, launch, pictures } from "./browser.mjs";

const site = process.env.SITE;
const patience = 20_000;
// Without JavaScript the page looks again every ten seconds.
const refreshes = 60_000;

let browser;
before(async () => { browser = await launch(); });
after(() => browser?.close());

test("a visitor waits in a full room, is called, buys and pays", async () => {
  const inside = await Guest.enter();
  const ahead = [await Guest.queue(), await Guest.queue(), await Guest.queue()];
  const context = await browser.newContext({ viewport: desktop });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);

  await page.goto(`${site}/?from=poster`);
  await shows(page, "#big", "4");
  await pictures(page, "journey-1-waiting");
  await ahead[0].leave();
  await shows(page, "#big", "3");
  await ahead[1].leave();
  await ahead[2].leave();
  await shows(page, "#big", "1");
  await pictures(page, "journey-2-next");

  await inside.leave();
  await shows(page, "h1", "It is your turn");
  await pictures(page, "journey-3-turn");

  await page.waitForSelector("#buy-form");
  assert.equal(page.url(), `${site}/?from=poster`);
  await shows(page, "h1", "First night");
  await shows(page, "#remaining", "100");
  await pictures(page, "journey-4-shop");
  await page.selectOption("#qty", "2");
  await page.click("#buy-button");
  await shows(page, "#held", "2");
  await pictures(page, "journey-5-reserved");
  await page.click("#pay-button");
  await shows(page, "#paid-title", "Paid. Enjoy the event!");
  await shows(page, "#sold", "2");
  await pictures(page, "journey-6-paid");

  await leave(context.request);
  await context.close();
});

test("a visitor without JavaScript waits, looks again by itself and gets in", async () => {
  const inside = await Guest.enter();
  const context = await browser.newContext({ viewport: desktop, javaScriptEnabled: false });
  const page = await context.newPage();
  page.setDefaultTimeout(patience);

  await page.goto(`${site}/`);
  await shows(page, "h1", "You are in line");
  // The first answer asks for the ticket back, the next takes the place, one of those after knows the position.
  await page.waitForFunction(() => /\b1\b/.test(document.querySelector("#lead")?.textContent ?? ""), undefined, { timeout: refreshes });
  await pictures(page, "journey-plain-waiting");
  await inside.leave();
  await page.waitForSelector("#buy-form", { timeout: refreshes });

  await leave(context.request);
  await context.close();
});

// Somebody else at the site, without a browser: inside the shop, or in line.
class Guest {
  constructor(client) { this.client = client; }

  static async enter() {
    // A slot that was given back is free a second later; until then this is a place in line, as for anybody.
    const client = await request.newContext();
    const deadline = Date.now() + patience;
    while ((await client.get(`${site}/api/events`)).status() !== 200) {
      assert.ok(Date.now() < deadline, "the slot came free");
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    return new Guest(client);
  }

  static async queue() {
    const client = await request.newContext();
    const answer = await client.post(`${site}/_queue/join?room=e1`);
    assert.equal(answer.status(), 201);
    return new Guest(client);
  }

  async leave() {
    await leave(this.client);
    await this.client.dispose();
  }
}

async function leave(client) {
  const answer = await client.delete(`${site}/_queue/leave?room=e1`);
  assert.equal(answer.status(), 204);
}

async function shows(page, selector, text) {
  try {
    await page.waitForFunction(
      ([selector, text]) => document.querySelector(selector)?.innerText.trim() === text, [selector, text], { timeout: patience, polling: 100 },
    );
  } catch {
    const found = await page.locator(selector).innerText({ timeout: 1000 }).catch(() => "(not there)");
    assert.fail(`${selector} shows "${found}", not "${text}", after ${patience / 1000} s at ${page.url()}`);
  }
}
