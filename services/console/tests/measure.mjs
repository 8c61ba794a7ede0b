// Measures the first paint, and frames while a thousand boxes are shown and moved.
//
// Usage: CHROMIUM=/usr/bin/chromium node tests/measure.mjs URL PICTURE
// URL is that of a running API, PICTURE a large picture.

import { chromium } from "playwright-core";

const [url, picture] = process.argv.slice(2);
const OBJECTS = 1000;
const SECONDS = 5;

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });

const paints = [];
for (let load = 0; load < 5; load++) {
  await page.goto(url);
  await page.getByRole("heading", { level: 2 }).waitFor();
  paints.push(await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime));
}
console.log(`first contentful paint, ms: ${paints.map((paint) => Math.round(paint)).join(", ")}`);

await page.route("**/v1/tasks?*", async (route) => {
  const answer = await route.fetch();
  const [width, height] = [1280, 720];
  const objects = Array.from({ length: OBJECTS }, (_, index) => {
    const [x, y] = [(index * 37) % (width - 90), (index * 53) % (height - 70)];
    return { label: `class ${index % 80}`, class_id: index % 80, confidence: 0.9, bbox: { x1: x, y1: y, x2: x + 90, y2: y + 70 } };
  });
  await route.fulfill({ json: { ...(await answer.json()), state: "SUCCESS", width, height, objects } });
});
await page.locator("[data-input=files]").setInputFiles(picture);
await page.getByText("1 of 1 done").waitFor();
const viewer = await page.locator(".viewer-boxes").boundingBox();
await page.mouse.move(viewer.x + viewer.width / 2, viewer.y + viewer.height / 2);
await page.mouse.wheel(0, -600);

// In each frame the picture is moved and zoomed: everything is drawn again.
const measured = await page.evaluate(
  (seconds) =>
    new Promise((resolve) => {
      const canvas = document.querySelector(".viewer-boxes");
      const started = performance.now();
      const times = [];
      const step = (now) => {
        times.push(now);
        const key = ["ArrowLeft", "ArrowRight", "+", "-"][times.length % 4];
        canvas.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        if (now - started < seconds * 1000) requestAnimationFrame(step);
        else resolve(times.slice(1).map((time, index) => time - times[index]));
      };
      requestAnimationFrame(step);
    }),
  SECONDS,
);
measured.sort((one, other) => one - other);
const at = (part) => measured[Math.floor(part * (measured.length - 1))].toFixed(1);
const frames = (measured.length * 1000) / measured.reduce((sum, time) => sum + time, 0);
console.log(`${OBJECTS} boxes: ${frames.toFixed(1)} frames/s; a frame takes ${at(0.5)} ms, 95 %: ${at(0.95)} ms`);
await browser.close();
