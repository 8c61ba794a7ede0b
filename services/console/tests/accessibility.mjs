// WCAG 2.2 AA by axe-core, in each state of the page; and no page that is wider than the screen.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { test } from "node:test";
import { choose, open, untilDone } from "./browser.mjs";

const { CONSOLE_URL: url, KEYED_URL: keyedUrl, PICTURES: pictures } = process.env;
const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];

async function assertAccessible(page, state) {
  // Outside the page's Content-Security-Policy, as an extension of the browser is.
  const violations = await page.evaluate(
    async ([axe, rules]) => {
      if (!window.axe) new Function(axe)();
      const { violations } = await window.axe.run({ runOnly: rules });
      return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ target, failureSummary }) => `${target} ${failureSummary}`)}`);
    },
    [axe, RULES],
  );
  assert.deepEqual(violations, [], state);
}

async function assertNotWider(page, view) {
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${view} is ${overflow} px wider than the screen`);
}

for (const colorScheme of ["light", "dark"]) {
  for (const width of [1440, 390]) {
    test(`axe-core finds nothing at ${width} px, ${colorScheme}`, async (t) => {
      const options = { colorScheme, viewport: { width, height: 844 }, bypassCSP: true };
      const page = await open(t, url, options);
      await page.getByRole("button", { name: "sample bus.jpg" }).waitFor();
      await assertAccessible(page, "empty");
      await choose(page, [`${pictures}/bus.jpg`, `${pictures}/zidane.jpg`]);
      await untilDone(page, 2);
      await assertAccessible(page, "results");
      await choose(page, { name: "notes.jpg", mimeType: "image/jpeg", buffer: Buffer.from("-") });
      await page.getByRole("alert").waitFor();
      await assertAccessible(page, "failing");
      await assertNotWider(page, "try");
      await page.goto(keyedUrl);
      await page.getByRole("dialog").waitFor();
      await assertAccessible(page, "dialog");
    });

    test(`axe-core finds nothing in the views of operators at ${width} px, ${colorScheme}`, async (t) => {
      const options = { colorScheme, viewport: { width, height: 844 }, bypassCSP: true };
      const page = await open(t, `${url}/#/operations`, options);
      await page.locator(".panel tbody tr").first().waitFor();
      await page.locator(".letter").first().waitFor();
      await assertAccessible(page, "operations");
      await assertNotWider(page, "operations");
      await page.getByRole("button", { name: /^Drop / }).first().click();
      await page.getByRole("dialog").waitFor();
      await assertAccessible(page, "confirmation");
      await page.keyboard.press("Escape");
      await page.getByRole("link", { name: "Tasks" }).click();
      await page.locator(".task").first().waitFor();
      await assertAccessible(page, "tasks");
      await assertNotWider(page, "tasks");
      await page.locator(".task-name").first().click();
      await page.locator(".facts").waitFor();
      await assertAccessible(page, "task");
      await assertNotWider(page, "task");
    });
  }
}
