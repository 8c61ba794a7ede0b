// Batches: many pictures in one request.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, Spotter, WaitTimeoutError } from "../src/index.js";
import { pictureFile } from "../src/node.js";
import { TASK, problem, scripted } from "./scripted.js";
import { all, client, system, thrown } from "./shared.js";
import { PICTURES } from "./system.js";

const pictures = [
  await pictureFile(`${PICTURES}/bus.jpg`),
  { content: new Blob(["no picture"]), name: "notes.txt" },
  await pictureFile(`${PICTURES}/zidane.jpg`),
];

test("pictures are submitted, followed, and their results read", async () => {
  const options = { idempotencyKey: "batch-1", confidence: 0.4, metadata: { of: "this test" } };
  const batch = await client.batches.submit(pictures, options);
  assert.deepEqual([batch.received, batch.metadata], [3, { of: "this test" }]);
  const kinds = (await all(client.batches.events(batch))).map(({ kind }) => kind);
  assert.equal(kinds.at(-1), "finished");
  const finished = await client.batches.wait(batch.batch_id);
  assert.deepEqual([finished.counts.succeeded, finished.counts.refused], [2, 1]);
  assert.deepEqual(finished.refused?.map(({ name }) => name), ["notes.txt"]);
  const results = await all(client.batches.results(batch.batch_id));
  assert.deepEqual(results.map(({ index, name }) => [index, name]), [[0, "bus.jpg"], [1, "notes.txt"], [2, "zidane.jpg"]]);
  assert.ok(results[0]?.task?.objects?.some(({ label }) => label === "bus"));
  assert.equal(results[1]?.error?.type, "urn:problem-type:spotter:invalid-picture");
  // The same key is the same batch.
  assert.equal((await client.batches.submit(pictures, options)).batch_id, batch.batch_id);
});

test("batches are listed over pages", async () => {
  const submitted = [];
  for (let number = 0; number < 3; number++) submitted.push(await client.batches.submit(pictures.slice(0, 1)));
  const listed: string[] = [];
  for await (const { batch_id } of client.batches.list({ limit: 1 })) {
    listed.push(batch_id);
    if (listed.length === 3) break;
  }
  assert.deepEqual(listed, submitted.map(({ batch_id }) => batch_id).reverse());
});

test("a batch may be cancelled, and waiting for it ends in time", async () => {
  const { batches } = new Spotter(system.lonely.url);
  const batch = await batches.submit([pictures[0]!, pictures[2]!]);
  const { unfinished } = await thrown(batches.wait(batch, { timeout: 0.3 }), WaitTimeoutError);
  assert.equal((unfinished as typeof batch).batch_id, batch.batch_id);
  assert.equal((await batches.cancel(batch)).cancelled, true);
  const finished = await batches.wait(batch);
  assert.equal(finished.counts.revoked, 2);
  assert.equal((await batches.cancel(batch)).cancelled, true, "to cancel it again is no error");
});

test("a batch of URLs is fetched by the API; one of both kinds is refused", async () => {
  const urls = ["https://127.0.0.1/a.jpg", new URL("https://127.0.0.1/b.jpg")];
  const error = await thrown(client.batches.submit(urls), ApiError);
  assert.match(error.problem.errors?.[0]?.parameter ?? "", /^\/items\/0/);
  await assert.rejects(client.batches.submit([...urls, ...pictures]), TypeError);
  assert.equal((await thrown(client.batches.submit([]), ApiError)).status, 400);
});

test("a batch that breaks off is continued, with the same key and pictures", async (t) => {
  const atOnce = { "Retry-After": "0" };
  const batch = { batch_id: "x", received: 3, state: "RUNNING" };
  const script = await scripted(
    t,
    problem(503, "queue-full", atOnce),
    problem(409, "batch-in-progress", atOnce),
    { status: 202, body: JSON.stringify(batch) },
  );
  const submitted = await new Spotter(script.url).batches.submit(pictures, { idempotencyKey: "k" });
  assert.equal(submitted.batch_id, "x");
  assert.deepEqual(script.requests.map(({ headers }) => headers["idempotency-key"]), ["k", "k", "k"]);
  assert.ok(script.requests.every(({ body }) => body.includes('filename="zidane.jpg"')));
});

test("results that break off are read again, each once", async (t) => {
  const line = (index: number) => `${JSON.stringify({ ...TASK, index, name: `${index}.jpg` })}\n`;
  const batch = { batch_id: "x", received: 3, state: "FINISHED" };
  const script = await scripted(
    t,
    { status: 200, body: JSON.stringify(batch) },
    { status: 200, body: `${line(0)}{"index":1,"na`, isCut: true },
    { status: 200, body: line(0) + line(1) },
    { status: 200, body: line(0) + line(1) + line(2) },
  );
  const results = await all(new Spotter(script.url).batches.results("x"));
  assert.deepEqual(results.map(({ name }) => name), ["0.jpg", "1.jpg", "2.jpg"]);
  assert.deepEqual(results[0]?.task, TASK);
});
