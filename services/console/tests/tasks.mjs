// A person looks at tasks and batches that a real API has run.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { open } from "./browser.mjs";

const { CONSOLE_URL: url, PICTURES: pictures } = process.env;

/** Runs a picture to its end. */
async function run(picture, query, { to = url } = {}) {
  const body = await readFile(`${pictures}/${picture}`);
  const headers = {
    "content-type": "image/jpeg",
    "content-disposition": `attachment; filename="${picture}"`,
    prefer: "wait=30",
  };
  const answer = await fetch(`${to}/v1/tasks?${query}`, { method: "POST", headers, body });
  assert.equal(answer.status, 200);
  return answer.json();
}

test("tasks are listed with their drawing, and a task shows its objects", async (t) => {
  const task = await run("bus.jpg", "annotated=true");
  assert.equal(task.state, "SUCCESS");
  const page = await open(t, `${url}/#/tasks`);
  const row = page.locator(".task").first();
  await row.getByRole("link", { name: "bus.jpg" }).waitFor();
  assert.match(await row.innerText(), new RegExp(`yolov8n · ${task.objects.length} objects · 810 × 1080`));
  const drawing = row.getByRole("img", { name: "bus.jpg with its objects" });
  await drawing.evaluate((image) => image.decode());
  assert.equal(await drawing.evaluate(({ naturalWidth }) => naturalWidth), 810);

  await row.getByRole("link", { name: "bus.jpg" }).click();
  await page.getByText(task.task_id).waitFor();
  const objects = page.getByRole("region", { name: "Objects" }).locator("tbody tr");
  await objects.first().waitFor();
  assert.deepEqual(
    await objects.locator("td:nth-child(2)").allInnerTexts(),
    task.objects.map(({ confidence }) => confidence.toFixed(3)),
  );
  const arriving = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download JSON" }).click();
  const file = JSON.parse(await readFile(await (await arriving).path()));
  assert.equal(file.task_id, task.task_id);
});

test("filters and pages are in the address, and ask the API", async (t) => {
  const page = await open(t, `${url}/#/tasks`);
  const rows = page.locator(".task");
  await rows.first().waitFor();
  // The tests before have left more than a page.
  await page.getByRole("link", { name: "Older" }).click();
  await page.waitForFunction(() => location.hash.includes("cursor="));
  await page.getByRole("link", { name: "Newest" }).waitFor();
  await page.goBack();
  await page.getByRole("checkbox", { name: "Failed" }).check();
  const { tasks } = await (await fetch(`${url}/v1/tasks?state=FAILURE&limit=25`)).json();
  await page.getByText(`${tasks.length} task${tasks.length === 1 ? "" : "s"} on this page`, { exact: true }).waitFor();
  assert.deepEqual(
    await rows.locator(".task-name").evaluateAll((names) => names.map((name) => name.href.split("/").pop())),
    tasks.map(({ task_id }) => task_id),
  );
  await page.reload();
  assert.ok(await page.getByRole("checkbox", { name: "Failed" }).isChecked());
  await page.getByLabel("Submitted before").fill("2020-01-01T00:00");
  await page.getByText("No tasks match.").waitFor();
  await page.getByRole("link", { name: "Without filters" }).click();
  await rows.first().waitFor();
});

test("a batch shows how far it is, and which pictures were refused", async (t) => {
  const form = new FormData();
  const bytes = await readFile(`${pictures}/bus.jpg`);
  for (const name of ["one.jpg", "two.jpg"]) form.append("file", new Blob([bytes], { type: "image/jpeg" }), name);
  form.append("file", new Blob(["no picture"]), "notes.txt");
  const answer = await fetch(`${url}/v1/batches`, { method: "POST", body: form });
  assert.equal(answer.status, 202, await answer.clone().text());
  const { batch_id } = await answer.json();
  const page = await open(t, `${url}/#/tasks`);
  await page.getByLabel("Batch by its id").fill(batch_id);
  await page.keyboard.press("Enter");
  await page.getByText("3 of 3 ended, finished").waitFor();
  await page.getByText("notes.txt").waitFor();
  assert.equal(await page.locator(".figure", { hasText: "Succeeded" }).locator(".figure-value").innerText(), "2");
  await page.goBack();
  await page.locator(".batch-line", { hasText: batch_id }).getByText("3 of 3 ended, finished").waitFor();
});

test("the newest batches are listed, and older ones where they are wanted", async (t) => {
  const ids = [];
  for (let batch = 0; batch < 6; batch++) {
    const form = new FormData();
    form.append("file", new Blob(["no picture"]), "notes.txt");
    form.append("file", new Blob([await readFile(`${pictures}/bus.jpg`)], { type: "image/jpeg" }), "bus.jpg");
    ids.unshift((await (await fetch(`${url}/v1/batches`, { method: "POST", body: form })).json()).batch_id);
  }
  const page = await open(t, `${url}/#/tasks`);
  const lines = page.locator(".batch-line .id");
  const shown = async () => (await lines.evaluateAll((all) => all.map((line) => line.hash.split("/").pop()))).slice(0, 6);
  await lines.first().waitFor();
  assert.deepEqual(await shown(), ids.slice(0, 5));
  await page.getByRole("button", { name: "Older batches" }).click();
  await lines.nth(5).waitFor();
  assert.deepEqual(await shown(), ids);
});

test("pictures are run in tiles where that is chosen", async (t) => {
  const page = await open(t, url);
  await page.getByRole("combobox", { name: "Tiles" }).selectOption("columns × rows");
  await page.getByLabel("Columns of tiles").fill("3");
  const request = page.waitForRequest((request) => request.method() === "POST");
  await page.locator("[data-input=files]").setInputFiles(`${pictures}/zidane.jpg`);
  assert.match((await request).url(), /[?&]tiles=3x2(&|$)/);
  await page.getByText("in 3 × 2 tiles").waitFor();
  await page.getByRole("radio", { name: "curl" }).check();
  assert.match(await page.locator(".code").innerText(), /tiles=3x2/);
});
