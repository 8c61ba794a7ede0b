// An operator watches the system, and deals with dead letters. All figures are those of a real API.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { choose, giveKey, open, untilDone } from "./browser.mjs";

const { CONSOLE_URL: url, IDLE_URL: idleUrl, KEYED_URL: keyedUrl, PICTURES: pictures } = process.env;
const { KEY: key, ADMIN_KEY: adminKey, DEAD_LETTERS: deadLetters, DEAD_WEBHOOK: webhook } = process.env;
const [requeued, dropped] = deadLetters.split(",");

/** The figure with this name, once its value is as expected. */
const figure = (page, name, expected) =>
  page
    .locator(".figure", { has: page.getByText(name, { exact: true }) })
    .locator(".figure-value")
    .filter({ hasText: expected });

/** Waits until a figure has this value. */
async function untilFigure(page, name, value) {
  try {
    await figure(page, name, new RegExp(`^${value}$`)).waitFor();
  } catch (cause) {
    const shown = await page.locator("body").innerText();
    throw new Error(`${name} is not ${value}; the page shows:\n${shown}`, { cause });
  }
}

async function untilFocused(page, locator) {
  await page.waitForFunction((element) => document.activeElement === element, await locator.elementHandle());
}

const panel = (page, name) => page.getByRole("region", { name, exact: true });

async function submit(picture, to) {
  const body = await readFile(`${pictures}/${picture}`);
  const answer = await fetch(`${to}/v1/tasks`, { method: "POST", headers: { "content-type": "image/jpeg" }, body });
  assert.equal(answer.status, 202);
  return answer.json();
}

test("jobs that wait are figures on the page, by lane", async (t) => {
  const { queue } = await (await fetch(`${idleUrl}/v1/operations`)).json();
  const page = await open(t, `${idleUrl}/#/operations`);
  await untilFigure(page, "Waiting", queue.waiting);
  await submit("zidane.jpg", idleUrl);
  await submit("zidane.jpg", idleUrl);
  await untilFigure(page, "Waiting", queue.waiting + 2);
  await page.getByText("No worker is alive: jobs wait until one is started.").waitFor();
  // The plot's legend has the last value of the lane.
  const lane = page.locator(".legend li", { hasText: "yolov8n normal" });
  await lane.getByText(String(queue.waiting + 2), { exact: true }).waitFor();
  const drawn = page.locator(".plot-canvas canvas").first();
  assert.ok(await drawn.evaluate(({ width, height }) => width > 0 && height > 0));
});

test("what is run is counted: the worker's pictures, the rates, the stages, the classes", async (t) => {
  const page = await open(t, `${url}/#/operations`);
  const row = panel(page, "Workers").locator("tbody tr");
  await row.waitFor();
  const pictureCount = async () => Number(await row.locator("td").nth(2).innerText());
  const before = await pictureCount();
  // The rate rises above nought with the tasks that ended, and falls again ten seconds later: it is waited for from now on.
  const ended = page.locator(".legend li", { hasText: "ended" });
  const rateRises = ended.getByText(/^(?!0\.0$)[\d.,]+$/).waitFor();
  // A test that fails before it awaits this fails with its own error.
  rateRises.catch(() => undefined);
  for (let picture = 0; picture < 3; picture++) await submit("bus.jpg", url);
  await page.waitForFunction(
    ([from]) => Number(document.querySelector(".panel tbody tr td:nth-child(4)")?.textContent) >= from + 3,
    [before],
  );
  assert.match(await row.innerText(), /yolov8n/);
  const { classes } = await (await fetch(`${url}/v1/operations`)).json();
  const { count, confidence } = classes.find(({ label }) => label === "bus");
  assert.equal(confidence.reduce((sum, number) => sum + number, 0), count);
  const buses = panel(page, "Objects by class").getByRole("row", { name: new RegExp(`^bus ${count} `) });
  await buses.getByRole("img", { name: `Confidence of ${count} objects of the class bus` }).waitFor();
  const model = page.locator(".plot", { has: page.getByRole("heading", { name: "Model", exact: true }) });
  await model.locator(".legend li", { hasText: "p50" }).getByText(/^[\d.,]+ m?s$/).waitFor();
  await rateRises;
});

test("the arrow keys show the values of other times", async (t) => {
  const page = await open(t, `${url}/#/operations`);
  const plot = page.locator(".plot").first();
  const time = plot.locator(".plot-heading span");
  await plot.locator("canvas").waitFor();
  await figure(page, "Waiting", /^\d/).waitFor();
  await plot.getByRole("img").focus();
  await page.keyboard.press("ArrowLeft");
  await time.filter({ hasText: /^\d\d:\d\d:\d\d$/ }).waitFor();
  await page.keyboard.press("Escape");
  await page.waitForFunction(() => document.querySelector(".plot-heading span").textContent === "");
});

test("a lost stream is said, and opened again", async (t) => {
  const page = await open(t, `${url}/#/operations`);
  const says = (text) => page.getByRole("status").filter({ hasText: text }).waitFor();
  await says("Live");
  await page.route("**/v1/operations/events", (route) => route.abort());
  await page.reload();
  await says("Connection lost. The server cannot be reached.");
  await page.unroute("**/v1/operations/events");
  await says("Live");
});

test("a dead letter is requeued and another dropped, each asked for once", async (t) => {
  const page = await open(t, `${url}/#/operations`);
  await untilFigure(page, "Dead letters", 3);
  const letters = panel(page, "Dead letters").locator(".letter");
  const picture = letters.getByRole("img", { name: "requeued.jpg" });
  // They died in any order, and a picture is loaded once it is in view.
  await letters.filter({ hasText: "requeued.jpg" }).scrollIntoViewIfNeeded();
  await picture.evaluate((image) => image.decode());
  const changes = [];
  page.on("request", (request) => {
    if (request.method() !== "GET") changes.push(`${request.method()} ${new URL(request.url()).pathname}`);
  });

  // By the keyboard alone; Escape changes nothing, and gives the focus back.
  const requeue = page.getByRole("button", { name: "Requeue requeued.jpg" });
  await requeue.focus();
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Run this job again?" });
  await dialog.waitFor();
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  await untilFocused(page, requeue);
  assert.deepEqual(changes, []);

  await page.keyboard.press("Enter");
  await dialog.getByRole("button", { name: "Requeue" }).click();
  await requeue.waitFor({ state: "detached" });
  await page.getByText("The job is in the queue again.").waitFor();
  await untilFocused(page, page.getByRole("heading", { name: "Dead letters" }));

  // What goes wrong is said in the dialog, and can be tried again.
  await page.route("**/v1/dead-letters/*", (route) => route.fulfill({ status: 503, json: { type: "urn:problem-type:spotter:unavailable", detail: "no queue" } }));
  await page.getByRole("button", { name: "Drop dropped.jpg" }).click();
  const dropping = page.getByRole("dialog", { name: "Drop this dead letter?" });
  await dropping.getByRole("button", { name: "Drop" }).click();
  await dropping.getByRole("alert").getByText("The server's queue cannot be reached.").waitFor();
  await page.unroute("**/v1/dead-letters/*");
  await dropping.getByRole("button", { name: "Drop" }).click();
  await untilFigure(page, "Dead letters", 1);
  // The figure comes with the stream, and may be there before the answer.
  for (const name of ["requeued.jpg", "dropped.jpg"]) await letters.filter({ hasText: name }).waitFor({ state: "detached" });
  assert.deepEqual(await letters.locator(".letter-reason").allInnerTexts(), ["kept.jpg"]);
  assert.deepEqual(changes, [
    `POST /v1/dead-letters/${requeued}/requeue`,
    `DELETE /v1/dead-letters/${dropped}`,
    `DELETE /v1/dead-letters/${dropped}`,
  ]);
});

test("a webhook that was given up is delivered again, asked for once", async (t) => {
  const page = await open(t, `${url}/#/operations`);
  const webhooks = panel(page, "Webhooks");
  await webhooks.getByText("0 to be delivered, 1 given up.").waitFor();
  await webhooks.getByText("the receiver answered 500").waitFor();
  const replay = webhooks.getByRole("button", { name: `Deliver again the webhook of task ${webhook}` });
  await replay.click();
  const dialog = page.getByRole("dialog", { name: "Deliver this webhook again?" });
  const request = page.waitForRequest((request) => request.method() === "POST");
  await dialog.getByRole("button", { name: "Deliver again" }).click();
  assert.equal(new URL((await request).url()).pathname, `/v1/webhooks/dead-letters/${webhook}/replay`);
  await replay.waitFor({ state: "detached" });
  await untilFocused(page, page.getByRole("heading", { name: "Webhooks" }));
  // No notifier runs.
  await webhooks.getByText("1 to be delivered, 0 given up.").waitFor();
});

test("a key without admin is told what it lacks, and another one shows the view", async (t) => {
  const page = await open(t, `${keyedUrl}/#/operations`);
  await giveKey(page, key);
  await page.getByRole("alert").getByText("This page needs an API key with the scope admin.").waitFor();
  await page.getByRole("main").getByRole("button", { name: "API key" }).click();
  await page.getByText("It may not see operations and dead letters").waitFor();
  await page.getByRole("button", { name: "Forget the key" }).click();
  await giveKey(page, adminKey);
  await untilFigure(page, "Waiting", 0);
  await page.getByRole("status").getByText("Live").waitFor();
});

test("views have addresses: reload and the browser's buttons work, and the focus follows", async (t) => {
  const page = await open(t, url);
  await choose(page, `${pictures}/zidane.jpg`);
  await untilDone(page, 1);
  await page.getByRole("link", { name: "Operations" }).click();
  const operations = page.getByRole("heading", { name: "Operations" });
  await untilFocused(page, operations);
  assert.equal(await page.title(), "Operations · spotter");
  await page.reload();
  await operations.waitFor();
  await page.goBack();
  await untilDone(page, 1);
  assert.equal(await page.title(), "spotter");
  await page.goForward();
  await operations.waitFor();
});

test("nothing moves when figures change", async (t) => {
  const page = await open(t, `${url}/#/operations`);
  await figure(page, "Waiting", /^\d/).waitFor();
  // The list of dead letters is read after the first snapshot.
  await page.locator(".letter").first().waitFor();
  const shift = page.evaluate(
    () =>
      new Promise((resolve) => {
        let moved = 0;
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) moved += entry.value;
        }).observe({ type: "layout-shift" });
        let snapshots = 0;
        new MutationObserver(() => {
          if (++snapshots === 3) resolve(moved);
        }).observe(document.querySelector(".live .quiet"), { characterData: true, subtree: true, childList: true });
      }),
  );
  await submit("bus.jpg", url);
  // Numbers are less than a pixel wider or narrower.
  const moved = await shift;
  assert.ok(moved < 0.001, `the layout has shifted by ${moved}`);
});
