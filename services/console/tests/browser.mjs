// Chromium, and pages of it, for the tests.

import assert from "node:assert/strict";
import { after } from "node:test";
import { chromium } from "playwright-core";

/** Only a failing test waits this long. */
const TIMEOUT_MS = 60_000;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: [
    // Chromium's sandbox needs rights that containers lack. It shows pages of this test only.
    "--no-sandbox",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
  ],
});
after(() => browser.close());

/**
 * A page with a session of its own, which is closed at the end of the test `t`. The test fails if a script fails there, or
 * if the page tries what its Content-Security-Policy forbids.
 */
export async function open(t, url, options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1440, height: 900 },
    permissions: ["clipboard-read", "clipboard-write"],
    ...options,
  });
  context.setDefaultTimeout(TIMEOUT_MS);
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  page.on("console", (message) => {
    if (message.text().includes("Content Security Policy")) faults.push(message.text());
  });
  t.after(async () => {
    await context.close();
    if (faults.length > 0) throw new Error(`the page has faults: ${faults.join("\n")}`);
  });
  await page.goto(url);
  return page;
}

/** Gives files to the page, as the file chooser does. */
export async function choose(page, files) {
  await page.locator("[data-input=files]").setInputFiles(files);
}

/** Waits until the list says that so many of its pictures are done. */
export async function untilDone(page, done, all = done) {
  const text = `${done} of ${all} done`;
  try {
    await page.getByText(text, { exact: true }).waitFor();
  } catch (cause) {
    const shown = await page.locator("body").innerText();
    throw new Error(`not ${text}; the page shows:\n${shown}`, { cause });
  }
}

/** The objects that are listed: label, confidence, and corners in whole pixels. */
export async function listedObjects(page) {
  const rows = await page.locator(".object").allInnerTexts();
  return rows.map((row) => {
    const [label, corners, confidence] = row.split("\n").filter(Boolean);
    return { label, corners: corners.split(", ").map(Number), confidence: Number(confidence) };
  });
}

/** Gives the page the API key that it asks for. */
export async function giveKey(page, text) {
  const field = page.getByRole("dialog").getByLabel("API key", { exact: true });
  await field.fill(text);
  assert.equal(await field.inputValue(), text, "the dialog has lost the key");
  await page.getByRole("button", { name: "Use this key" }).click();
}
