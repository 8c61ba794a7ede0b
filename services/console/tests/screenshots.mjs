// Screenshots of the console, for people to look at: empty, with results, busy and failing, and the views for
// operators; wide and narrow; dark and light.
//
// Usage: CHROMIUM=/usr/bin/chromium node tests/screenshots.mjs URL PICTURES FOLDER
// URL is that of a running API with a worker, PICTURES is test_images, FOLDER gets the screenshots.

import { mkdir } from "node:fs/promises";
import { chromium } from "playwright-core";

const [url, pictures, folder] = process.argv.slice(2);
const SIZES = { 1440: 900, 768: 1024, 390: 844 };

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
await mkdir(folder, { recursive: true });
for (const colorScheme of ["light", "dark"]) {
  for (const [width, height] of Object.entries(SIZES)) {
    const viewport = { width: Number(width), height };
    const context = await browser.newContext({ viewport, colorScheme, deviceScaleFactor: 1 });
    context.setDefaultTimeout(120_000);
    const page = await context.newPage();
    const shoot = (name) =>
      page.screenshot({ path: `${folder}/${name}-${width}-${colorScheme}.png`, fullPage: viewport.width < 500 });
    await page.goto(url);
    await page.getByRole("heading", { level: 2 }).waitFor();
    await page.evaluate(() => Promise.all([...document.images].map((image) => image.decode())));
    await shoot("empty");
    const files = page.locator("[data-input=files]");
    // Pictures that may be published.
    const free = ["coffee.png", "astronaut.png", "chelsea.png"].map((name) => `${pictures}/${name}`);
    await files.setInputFiles(free);
    await page.getByText("3 of 3 done").waitFor();
    await page.getByRole("button", { name: "coffee.png" }).click();
    await shoot("results");
    await files.setInputFiles({ name: "notes.jpg", mimeType: "image/jpeg", buffer: Buffer.from("no picture") });
    await page.getByRole("alert").waitFor();
    await shoot("failing");
    // Events that do not come leave the pictures where they are.
    await page.route("**/events", () => undefined);
    await files.setInputFiles(Array.from({ length: 12 }, (_, index) => free[index % 3]));
    await page.getByText("In the queue").first().waitFor();
    await shoot("busy");
    await page.unroute("**/events");
    for (const view of ["operations", "tasks"]) {
      await page.goto(`${url}/#/${view}`);
      await page.locator(".panel tbody tr, .task").first().waitFor();
      await shoot(view);
    }
    await context.close();
  }
}
await browser.close();
