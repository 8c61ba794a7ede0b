// Measures the first paint, and frames: while a thousand boxes are shown and moved, and while the plots are live.
//
// Usage: CHROMIUM=/usr/bin/chromium node tests/measure.mjs URL PICTURE
// URL is that of a running API, PICTURE a large picture.

import { chromium } from "playwright-core";

const [url, picture] = process.argv.slice(2);
const OBJECTS = 1000;
const SECONDS = 5;

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
// `measure` makes functions of texts, which the page itself may not.
const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, bypassCSP: true });

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

/** Takes a step in each frame for some seconds, and prints how long the frames take. */
async function measure(what, step) {
  const times = await page.evaluate(
    ([seconds, step]) =>
      new Promise((resolve) => {
        const take = new Function("frame", `(${step})(frame)`);
        const started = performance.now();
        const times = [];
        const next = (now) => {
          times.push(now);
          take(times.length);
          if (now - started < seconds * 1000) requestAnimationFrame(next);
          else resolve(times.slice(1).map((time, index) => time - times[index]));
        };
        requestAnimationFrame(next);
      }),
    [SECONDS, String(step)],
  );
  times.sort((one, other) => one - other);
  const at = (part) => times[Math.floor(part * (times.length - 1))].toFixed(1);
  const frames = (times.length * 1000) / times.reduce((sum, time) => sum + time, 0);
  console.log(`${what}: ${frames.toFixed(1)} frames/s; a frame takes ${at(0.5)} ms, 95 %: ${at(0.95)} ms`);
}

// In each frame the picture is moved and zoomed: everything is drawn again.
await measure(`${OBJECTS} boxes`, (frame) => {
  const key = ["ArrowLeft", "ArrowRight", "+", "-"][frame % 4];
  const canvas = document.querySelector(".viewer-boxes");
  canvas.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
});

// In each frame the cursor of all plots is moved, and the page scrolled; once a second there is a snapshot.
await page.goto(`${url}/#/operations`);
await page.locator(".live[data-state=live]").waitFor();
await measure("operations", (frame) => {
  document.querySelector(".view").scrollTop = frame % 100;
  const plot = document.querySelector(".plot-canvas");
  plot.dispatchEvent(new KeyboardEvent("keydown", { key: frame % 2 ? "Home" : "End", bubbles: true, cancelable: true }));
});
await browser.close();
