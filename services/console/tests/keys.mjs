// An API that needs keys: the page asks for one, once.

import assert from "node:assert/strict";
import { test } from "node:test";
import { choose, giveKey, open, untilDone } from "./browser.mjs";

const { KEYED_URL: url, KEY: key, READ_KEY: readKey, PICTURES: pictures } = process.env;

test("a key is asked for once, and a wrong one is refused", async (t) => {
  const page = await open(t, url);
  await page.getByRole("dialog").waitFor();
  const wrong = `${key.slice(0, -1)}${key.endsWith("0") ? "1" : "0"}`;
  await giveKey(page, wrong);
  await page.getByText("The server does not accept this key.").waitFor();
  await giveKey(page, key);
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  const urls = [];
  page.on("request", (request) => urls.push(request.url()));
  await choose(page, `${pictures}/zidane.jpg`);
  await untilDone(page, 1);
  assert.ok(urls.length > 1 && urls.every((url) => !url.includes("spotter_")), urls.join("\n"));
  await page.getByRole("button", { name: "API key" }).click();
  await page.getByText("It may submit pictures.").waitFor();
  await page.getByText("It may read results.").waitFor();
  await page.getByText("It may not see operations and dead letters").waitFor();
  // In memory only: the code that is shown does not contain it, and a reload asks again.
  assert.ok(!(await page.content()).includes(key.split("_")[2]));
  await page.reload();
  await page.getByRole("dialog").waitFor();
});

test("a key is kept in the session storage if its owner wants that, and forgotten", async (t) => {
  const page = await open(t, url);
  await page.getByLabel("Keep it until this tab is closed").check();
  await giveKey(page, key);
  await page.getByRole("dialog").waitFor({ state: "hidden" });
  assert.equal(await page.evaluate(() => JSON.stringify({ ...localStorage })), "{}");
  await page.reload();
  await page.getByRole("button", { name: "API key" }).click();
  await page.getByRole("button", { name: "Forget the key" }).click();
  assert.ok(!(await page.evaluate(() => JSON.stringify({ ...sessionStorage }))).includes("spotter_"));
});

test("the tasks of a key that is forgotten are not shown", async (t) => {
  const page = await open(t, `${url}/#/tasks`);
  await giveKey(page, key);
  // The tests before have submitted one.
  const rows = page.locator(".task");
  await rows.first().waitFor();
  await page.getByRole("button", { name: "API key" }).click();
  await page.getByRole("button", { name: "Forget the key" }).click();
  await page.getByRole("dialog").getByLabel("API key", { exact: true }).waitFor();
  assert.equal(await rows.count(), 0);
});

test("what the key may not do is shown", async (t) => {
  const page = await open(t, url);
  await giveKey(page, readKey);
  await page.getByRole("region").getByText("It may not submit pictures").waitFor();
  assert.ok(await page.getByRole("button", { name: "Choose pictures" }).isDisabled());
});
