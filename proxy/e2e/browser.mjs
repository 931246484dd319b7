// One browser for all tests: the system's Chromium, kept off the network and out of the host's shared memory.

import { accessSync, constants } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const phone = { width: 390, height: 844 };
export const desktop = { width: 1280, height: 800 };

const names = ["chromium", "chromium-browser", "google-chrome"];

export function launch() {
  return chromium.launch({
    executablePath: executable(),
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking", "--disable-component-update"],
  });
}

// A screenshot into target/e2e/, to be looked at.
export async function picture(page, name) {
  const folder = process.env.PICTURES ?? join(root, "target/e2e");
  await mkdir(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

// The same page at both widths; it ends as wide as it began.
export async function pictures(page, name) {
  const before = page.viewportSize();
  for (const [device, size] of Object.entries({ phone, desktop })) {
    await page.setViewportSize(size);
    await picture(page, `${name}-${device}`);
  }
  await page.setViewportSize(before);
}

function executable() {
  const folders = (process.env.PATH ?? "").split(":");
  const found = names.flatMap((name) => folders.map((folder) => join(folder, name))).find(isExecutable);
  if (!found) throw new Error(`no browser on the PATH: looked for ${names.join(", ")}`);
  return found;
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
