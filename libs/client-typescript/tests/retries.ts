// Which requests are sent again, and when.

import assert from "node:assert/strict";
import * as fs from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ApiError, NoAnswerError, Spotter, UnexpectedAnswerError } from "../src/index.js";
import { pictureFile } from "../src/node.js";
import { Backoff, pause, secondsOf } from "../src/retries.js";
import { type Answer, DONE, TASK, problem, scripted } from "./scripted.js";
import { thrown } from "./shared.js";

const PICTURE = new Uint8Array([1, 2, 3]);
const AT_ONCE = { "Retry-After": "0" };

async function scriptedClient(t: TestContext, ...answers: Answer[]) {
  const script = await scripted(t, ...answers);
  return { script, client: new Spotter(script.url) };
}

test("a busy API is asked again with the same key and the same picture", async (t) => {
  const busy = [503, 429, 502, 504].map((status) => problem(status, "queue-full", AT_ONCE));
  const { script, client } = await scriptedClient(t, ...busy, DONE);
  assert.equal((await client.detect(PICTURE)).state, "SUCCESS");
  assert.equal(script.requests.length, 5);
  assert.equal(new Set(script.requests.map(({ headers }) => headers["idempotency-key"])).size, 1);
  assert.deepEqual(new Set(script.requests.map(({ body }) => body)), new Set(["\u0001\u0002\u0003"]));
});

test("the time that Retry-After names is waited for", async (t) => {
  const { script, client } = await scriptedClient(t, problem(503, "queue-full", { "Retry-After": "1" }), DONE);
  const began = performance.now();
  await client.submit(PICTURE);
  assert.ok(performance.now() - began >= 1000);
  assert.equal(script.requests.length, 2);
});

test("a lost connection is tried again, and given up in time", async (t) => {
  const { script } = await scriptedClient(t);
  const error = await thrown(new Spotter(script.url, { retryFor: 2 }).detect(PICTURE), NoAnswerError);
  assert.ok(script.requests.length >= 2, `${script.requests.length} requests`);
  assert.ok(!error.message.includes("127.0.0.1") && error.cause === undefined, error.message);
});

test("without a key, a submission that may have been accepted is not sent again", async (t) => {
  for (const lost of [undefined, problem(502, "bad-gateway", AT_ONCE)]) {
    const { script, client } = await scriptedClient(t, problem(503, "queue-full", AT_ONCE), ...(lost ? [lost] : []));
    await assert.rejects(client.submit(PICTURE, { idempotencyKey: null }), lost ? ApiError : NoAnswerError);
    assert.equal(script.requests.length, 2);
    assert.equal(script.requests[0]?.headers["idempotency-key"], undefined);
  }
});

test("without retries, and where the delay would be too long, the first error is thrown", async (t) => {
  for (const options of [{ retryFor: 0 }, { retryFor: 10 }]) {
    const { script, client } = await scriptedClient(t, problem(503, "unavailable", { "Retry-After": "20" }));
    const error = await thrown(client.submit(PICTURE, options), ApiError);
    assert.deepEqual([error.retryAfter, error.title, error.detail], [20, "A title", "A detail"]);
    assert.equal(script.requests.length, 1);
  }
});

test("other errors are thrown at once", async (t) => {
  for (const status of [400, 401, 403, 404, 408, 409, 410, 413, 415, 422, 500]) {
    const { script, client } = await scriptedClient(t, problem(status, "of-a-newer-api"));
    const error = await thrown(client.submit(PICTURE), ApiError);
    assert.deepEqual([error.status, error.kind, error.advice], [status, "of-a-newer-api", undefined]);
    assert.equal(script.requests.length, 1);
  }
});

test("another server is recognised", async (t) => {
  const html: Answer = { status: 200, body: "<html>" };
  const moved: Answer = { status: 301, headers: { Location: "https://elsewhere.example.com/" } };
  for (const answer of [html, { status: 204 }, moved]) {
    const { client } = await scriptedClient(t, answer);
    const error = await thrown(client.task("x"), UnexpectedAnswerError);
    assert.match(error.message, /check that this is the address/);
  }
  const { client } = await scriptedClient(t, DONE);
  await assert.rejects(client.events("x").next(), UnexpectedAnswerError);
});

test("an error without an explanation has its status, and that of a full API its words", async (t) => {
  const { client } = await scriptedClient(
    t,
    { status: 500, body: "<html>Internal" },
    { status: 503, body: '{"error": "too many connections"}' },
    { status: 500, body: "null" },
    { status: 500, body: '{"type": null, "title": 7, "detail": {}, "error": [], "errors": null, "task": null, "batch": 1}' },
  );
  await assert.rejects(client.task("x"), /the API answered 500 without an explanation/);
  await assert.rejects(client.task("x", { retryFor: 0 }), /too many connections/);
  await assert.rejects(client.task("x"), /the API answered 500/);
  const error = await thrown(client.task("x"), ApiError);
  const { type, title, detail, problem: { errors }, task, batch } = error;
  const [status, words] = ["HTTP status 500", "the API answered 500 without an explanation"];
  assert.deepEqual([type, title, detail, errors, task, batch], ["about:blank", status, words, undefined, undefined, undefined]);
});

/** Before Node 19.8, the bytes of a file are read at once. */
const skip = !("openAsBlob" in fs) && "there is no openAsBlob";

test("a picture whose file is gone or changed is an error at once, and no silence of the API", { skip }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "spotter-client-typescript-"));
  t.after(() => rm(folder, { recursive: true }));
  const path = join(folder, "a.jpg");
  for (const change of [() => rm(path), () => writeFile(path, "others")]) {
    const { client } = await scriptedClient(t);
    await writeFile(path, "some bytes");
    const picture = await pictureFile(path);
    await change();
    const once = { retryFor: 0 };
    for (const call of [() => client.submit(picture, once), () => client.batches.submit([picture], once)]) {
      assert.equal((await thrown(call, DOMException)).name, "NotReadableError");
    }
  }
});

test("detect ends soon after its time where the API hangs", async (t) => {
  const { script } = await scriptedClient(t, ENDLESS, ENDLESS);
  const began = performance.now();
  const client = new Spotter(script.url, { requestTimeout: 20 });
  await thrown(client.detect(PICTURE, { timeout: 0.2 }), NoAnswerError);
  assert.ok(performance.now() - began < 10_000);
  assert.equal(script.requests.length, 1);
});

test("an empty list is refused: it would mean all", async (t) => {
  const { script, client } = await scriptedClient(t, DONE);
  const message = "classes: the list is empty; give at least one value, or leave classes out, which means all";
  await assert.rejects(client.submit(PICTURE, { classes: [] }), { name: "RangeError", message });
  await assert.rejects(client.detectMany([PICTURE], { classes: [] }).next(), { name: "RangeError", message });
  await assert.rejects(client.tasks({ state: [] }).next(), RangeError);
  assert.equal(script.requests.length, 0);
});

/** An answer that never ends. */
const ENDLESS: Answer = { status: 200, body: "{", headers: { "Content-Length": "100" } };

test("an aborted call ends with the reason of its signal: before, while and after it is sent", async (t) => {
  const busy = problem(503, "queue-full", { "Retry-After": "60" });
  for (const [answer, retryFor] of [[ENDLESS, 0], [busy, 120]] as const) {
    const { script, client } = await scriptedClient(t, answer);
    const controller = new AbortController();
    const call = client.submit(PICTURE, { signal: controller.signal, retryFor });
    while (script.requests.length === 0) await pause(0.01);
    controller.abort(new RangeError("of the caller"));
    await assert.rejects(call, { message: "of the caller" });
    await assert.rejects(client.submit(PICTURE, { signal: controller.signal }), { message: "of the caller" });
    assert.equal(script.requests.length, 1);
  }
});

test("an answer that does not come in time is no answer", async (t) => {
  const script = await scripted(t, ENDLESS);
  const client = new Spotter(script.url, { requestTimeout: 0.2, retryFor: 0 });
  await assert.rejects(client.task("x"), { name: "NoAnswerError", message: "no complete answer in time" });
});

test("a task that was cancelled before is no error", async (t) => {
  const ended = (state: string): Answer => {
    const { body = "" } = problem(409, "task-ended");
    return { status: 409, body: JSON.stringify({ ...JSON.parse(body), task: { ...TASK, state } }) };
  };
  const { client } = await scriptedClient(t, ended("REVOKED"), ended("SUCCESS"));
  assert.equal((await client.cancel("x")).state, "REVOKED");
  assert.equal((await thrown(client.cancel("x"), ApiError)).task?.state, "SUCCESS");
});

test("delays double up to a limit and vary", () => {
  let now = 0;
  const least = new Backoff(120, { now: () => now, random: () => 0 });
  const most = new Backoff(120, { now: () => now, random: () => 1 });
  const delays = (backoff: Backoff) => Array.from({ length: 7 }, () => backoff.delay(undefined));
  assert.deepEqual(delays(least), [0.25, 0.5, 1, 2, 4, 7.5, 7.5]);
  assert.deepEqual(delays(most), [0.5, 1, 2, 4, 8, 15, 15]);
  assert.deepEqual([most.delay(0), most.delay(10)], [0.125, 12.5]);
  now = 119;
  assert.equal(most.delay(undefined), undefined);
  assert.equal(most.delay(0), 0.125);
  most.succeeded();
  assert.equal(most.delay(undefined), 0.5);
});

test("the number of tries is bounded, however short the delays are", () => {
  const backoff = new Backoff(Infinity, { now: () => 0, random: () => 0 });
  const delays = Array.from({ length: 101 }, () => backoff.delay(0));
  assert.equal(delays.indexOf(undefined), 100);
});

test("Retry-After is read", () => {
  const expected = { "7": 7, "-7": 0, soon: undefined, "": undefined, "Thu, 01 Jan 1970 00:00:00 GMT": 0 };
  for (const [header, seconds] of Object.entries(expected)) assert.equal(secondsOf(header), seconds, header);
  assert.equal(secondsOf(null), undefined);
  const inAMinute = secondsOf(new Date(Date.now() + 60_000).toUTCString()) ?? 0;
  assert.ok(inAMinute > 50 && inAMinute <= 60, `${inAMinute}`);
});
