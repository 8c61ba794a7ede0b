// Batches: many pictures in one request.

import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, Spotter, UnexpectedAnswerError, WaitTimeoutError } from "../src/index.js";
import { pictureFile } from "../src/node.js";
import { type Answer, TASK, openStream, problem, scripted } from "./scripted.js";
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

/** A refusal of a batch of which a part was received. */
function partly(status: number, kind: string, received: number, headers: Record<string, string> = {}): Answer {
  const described = JSON.parse(problem(status, kind).body ?? "");
  return { status, body: JSON.stringify({ ...described, batch: { batch_id: "x", received, state: "RUNNING" } }), headers };
}

test("without a key, a batch of which a part was received is not sent again", async (t) => {
  let calls = 0;
  for (const refusal of [
    partly(503, "queue-full", 2, { "Retry-After": "0" }),
    partly(429, "rate-limited", 2, { "Retry-After": "0" }),
    partly(401, "api-key-invalid", 2),
  ]) {
    const script = await scripted(t, problem(503, "queue-full", { "Retry-After": "0" }), refusal, { status: 202, body: "{}" });
    const client = new Spotter(script.url, {
      apiKey: () => `key-${calls}`,
      onUnauthorized: async () => (calls += 1) < 5,
    });
    const error = await thrown(client.batches.submit(pictures, { idempotencyKey: null }), ApiError);
    assert.equal(error.batch?.received, 2);
    assert.equal(script.requests.length, 2);
  }
  assert.equal(calls, 0);
});

test("a batch that is continued with another key goes on", async (t) => {
  const script = await scripted(t, partly(401, "api-key-invalid", 2), { status: 202, body: '{"batch_id": "x"}' });
  let key = "first";
  const client = new Spotter(script.url, {
    apiKey: () => key,
    onUnauthorized: async () => {
      key = "second";
      return true;
    },
  });
  assert.equal((await client.batches.submit(pictures)).batch_id, "x");
  assert.equal(script.requests.length, 2);
});

test("a batch of which more is received each time is not given up", async (t) => {
  const inASecond = { "Retry-After": "1" };
  const refusals = [1, 2, 3].map((received) => partly(503, "queue-full", received, inASecond));
  const script = await scripted(t, ...refusals, { status: 202, body: '{"batch_id": "x"}' });
  assert.equal((await new Spotter(script.url, { retryFor: 1.5 }).batches.submit(pictures)).batch_id, "x");

  const stuck = await scripted(t, ...[1, 1, 1].map((received) => partly(503, "queue-full", received, inASecond)));
  const error = await thrown(new Spotter(stuck.url, { retryFor: 1.5 }).batches.submit(pictures), ApiError);
  assert.deepEqual([error.status, stuck.requests.length], [503, 2]);
});

test("results that are refused, or of another server, are not asked for again", async (t) => {
  const batch = { batch_id: "x", received: 3, state: "FINISHED" } as Parameters<Spotter["batches"]["results"]>[0];
  for (const status of [401, 403, 404, 410, 500]) {
    const script = await scripted(t, problem(status, "a-kind"));
    assert.equal((await thrown(all(new Spotter(script.url).batches.results(batch, { retryFor: 1 })), ApiError)).status, status);
    assert.equal(script.requests.length, 1);
  }
  const script = await scripted(t, { status: 200, body: "<html>\n" });
  await thrown(all(new Spotter(script.url).batches.results(batch, { retryFor: 1 })), UnexpectedAnswerError);
  assert.equal(script.requests.length, 1);
});

test("a batch that has ended when the time is over is no error", async (t) => {
  const batch = { batch_id: "x", received: 3, state: "FINISHED" };
  const script = await scripted(t, openStream(), { status: 200, body: JSON.stringify(batch) });
  assert.equal((await new Spotter(script.url).batches.wait("x", { timeout: 0.2 })).state, "FINISHED");
});
