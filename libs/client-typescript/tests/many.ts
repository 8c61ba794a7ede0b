// Many pictures at a time.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { ApiError, type NamedPicture, type Outcome, type PictureSource, Spotter } from "../src/index.js";
import { pictureFile } from "../src/node.js";
import { pause } from "../src/retries.js";
import { all, client, system, thrown } from "./shared.js";
import { PICTURES } from "./system.js";

const bus = await pictureFile(`${PICTURES}/bus.jpg`);
const zidane = await pictureFile(`${PICTURES}/zidane.jpg`);
const names = (outcomes: Outcome[]) => outcomes.map(({ task }) => task?.picture_name);
const ids = (outcomes: Outcome[]) => outcomes.map(({ task, error }) => task?.task_id ?? assert.fail(error));
/** Node 18 has no global `crypto`. */
const HAS_CRYPTO = globalThis.crypto !== undefined;

test("many pictures are never in flight together, and come in order", async () => {
  let [taken, given, most] = [0, 0, 0];
  async function* pictures() {
    for (; taken < 60; taken++) yield { ...zidane, name: `${taken}.jpg` };
  }
  for await (const { task } of client.detectMany(pictures(), { parallel: 6 })) {
    assert.equal(task?.picture_name, `${given}.jpg`);
    given += 1;
    most = Math.max(most, taken - given);
  }
  assert.equal(given, 60);
  assert.ok(most <= 6, `${most} at a time`);
});

test("a failure is one of the outcomes", async () => {
  const pictures = [bus, new Blob(["no picture"]), "no such file", zidane] as PictureSource[];
  const outcomes = await all(client.detectMany(pictures, { parallel: 3, confidence: 0.4 }));
  assert.deepEqual(outcomes.map(({ picture }) => picture), pictures);
  assert.deepEqual(outcomes.map(({ error }) => error?.name), [undefined, "ApiError", "TypeError", undefined]);
});

test("a second call gets the tasks of the first", { skip: !HAS_CRYPTO && "there is no crypto.subtle" }, async () => {
  for await (const { task } of client.detectMany([bus, zidane], { run: "of this test", parallel: 1 })) {
    const again = ids(await all(client.detectMany([bus, zidane], { run: "of this test" })));
    assert.equal(again[0], task?.task_id);
    assert.deepEqual(ids(await all(client.detectMany([bus, zidane], { run: "of this test" }))), again);
    const others = [
      ...ids(await all(client.detectMany([bus, zidane], { run: "another" }))),
      ...ids(await all(client.detectMany([bus, zidane], { run: "of this test", confidence: 0.7 }))),
    ];
    assert.deepEqual(others.filter((id) => again.includes(id)), []);
    break;
  }
});

test("the same picture under two names is two tasks", { skip: !HAS_CRYPTO && "there is no crypto.subtle" }, async () => {
  const content = await readFile(`${PICTURES}/bus.jpg`);
  const named = (name: string): NamedPicture => ({ content, name });
  const outcomes = await all(client.detectMany([named("bus.jpg"), named("copy.jpg"), named("bus.jpg")]));
  assert.deepEqual(names(outcomes), ["bus.jpg", "copy.jpg", "bus.jpg"]);
  const [first, copy, second] = ids(outcomes);
  assert.equal(first, second);
  assert.notEqual(first, copy);
});

test("a refused key, an error of the pictures and an abort stop all", async () => {
  let taken = 0;
  function* pictures() {
    for (; taken < 100; taken++) yield zidane;
  }
  const refused = all(new Spotter(system.keyed.url).detectMany(pictures(), { parallel: 2 }));
  assert.equal((await thrown(refused, ApiError)).kind, "api-key-missing");
  assert.ok(taken < 5, `${taken} were taken`);
  function* broken() {
    yield zidane;
    throw new RangeError("of the caller");
  }
  await assert.rejects(all(client.detectMany(broken())), { message: "of the caller" });
  await assert.rejects(all(client.detectMany([zidane], { parallel: 0 })), RangeError);

  const [controller, lonely] = [new AbortController(), new Spotter(system.lonely.url)];
  const first = lonely.detectMany([zidane, bus], { parallel: 2, signal: controller.signal }).next();
  while ((await all(lonely.tasks({ state: ["QUEUED"] }))).length < 2) await pause(0.05);
  controller.abort();
  await assert.rejects(first, { name: "AbortError" });
});

test("outcomes do not wait for a source that is slow, and an abort ends waiting for it", { timeout: 60_000 }, async () => {
  const controller = new AbortController();
  async function* pictures() {
    yield zidane;
    yield bus;
    await new Promise(() => undefined);
  }
  const outcomes = client.detectMany(pictures(), { signal: controller.signal });
  for (const name of ["zidane.jpg", "bus.jpg"]) assert.equal((await outcomes.next()).value?.task?.picture_name, name);
  const next = outcomes.next();
  controller.abort(new RangeError("of the caller"));
  await assert.rejects(next, { message: "of the caller" });
  assert.equal((await outcomes.next()).done, true);
});

test("a source is closed where the consumer stops", async () => {
  let closed = 0;
  async function* pictures() {
    try {
      for (;;) yield zidane;
    } finally {
      closed += 1;
    }
  }
  for await (const { task } of client.detectMany(pictures(), { parallel: 2 })) {
    assert.equal(task?.state, "SUCCESS");
    break;
  }
  assert.equal(closed, 1);
});
