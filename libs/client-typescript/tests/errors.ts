// What callers get when something is wrong.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { ApiError, NoAnswerError, Spotter } from "../src/index.js";
import { pictureFile } from "../src/node.js";
import { problem, scripted } from "./scripted.js";
import { all, client, system, thrown } from "./shared.js";
import { PICTURES } from "./system.js";

// With the form of a key, and of nobody.
const WRONG_KEY = `spotter_000000000000_${"0".repeat(64)}`;
const zidane = await pictureFile(`${PICTURES}/zidane.jpg`);
const { url, apiKey } = system.keyed;

test("a key is required and checked", async () => {
  const missing = await thrown(new Spotter(url).detect(zidane), ApiError);
  assert.deepEqual([missing.status, missing.kind], [401, "api-key-missing"]);
  assert.equal(missing.type, "urn:problem-type:spotter:api-key-missing");
  assert.equal(missing.advice, "see docs/api-keys.md");
  const invalid = await thrown(new Spotter(url, { apiKey: WRONG_KEY }).detect(zidane), ApiError);
  assert.deepEqual([invalid.status, invalid.kind], [401, "api-key-invalid"]);
  assert.equal((await new Spotter(url, { apiKey }).detect(zidane)).state, "SUCCESS");
});

test("a key may come from a function, each time", async () => {
  let key: string | null = null;
  const keyed = new Spotter(url, { apiKey: () => key });
  await assert.rejects(keyed.models(), ApiError);
  key = apiKey;
  assert.ok((await keyed.models()).length > 0);
});

test("another key may be given where one is refused, and the request is sent again", async () => {
  const refusals: [string, string | null][] = [];
  let key: string | null = null;
  const asking = new Spotter(url, {
    apiKey: () => key,
    onUnauthorized: async ({ kind }, sentWith) => {
      refusals.push([kind, sentWith]);
      key = sentWith === null ? WRONG_KEY : apiKey;
      return refusals.length < 3;
    },
  });
  assert.equal((await asking.detect(zidane)).state, "SUCCESS");
  assert.deepEqual(refusals, [["api-key-missing", null], ["api-key-invalid", WRONG_KEY]]);
  key = null;
  assert.equal((await thrown(all(asking.events("x")), ApiError)).kind, "api-key-missing");

  const controller = new AbortController();
  const unanswered = () => new Promise<boolean>(() => controller.abort(new RangeError("of the caller")));
  const left = new Spotter(url, { onUnauthorized: unanswered }).models({ signal: controller.signal });
  await assert.rejects(left, { message: "of the caller" });
});

test("a key is never shown", async () => {
  const keyed = new Spotter(url, { apiKey: WRONG_KEY });
  const error = await thrown(keyed.models(), ApiError);
  for (const shown of [inspect(keyed, { depth: 9, showHidden: true }), JSON.stringify(keyed), inspect(error)]) {
    assert.ok(!shown.includes(WRONG_KEY), shown);
  }
  for (const refused of [() => new Spotter(url, { apiKey: `${WRONG_KEY}\n` }), () => new Spotter(url, { apiKey: "ü" })]) {
    assert.throws(refused, /^TypeError: the API key has invalid characters; expected one as/);
  }
  await assert.rejects(new Spotter(url, { apiKey: () => "a\nb" }).models(), TypeError);
});

test("an address is checked and not shown", () => {
  const wrong = ["ftp://127.0.0.1", "127.0.0.1:5000", "http://", "http://u:secret@127.0.0.1", "http://:secret@127.0.0.1", "http://127.0.0.1:x", "/"];
  for (const address of wrong) {
    assert.throws(() => new Spotter(address), { name: "TypeError", message: /^url: expected an address such as [^@]+$/ });
  }
});

test("an address may have a path and a slash at its end", async () => {
  assert.ok((await new Spotter(`${system.url}/`).models()).length > 0);
  const error = await thrown(new Spotter(new URL("/below/", system.url)).models(), ApiError);
  assert.equal(error.status, 404);
});

test("an empty query of an address is none", async (t) => {
  for (const end of ["/?", "?", "/#"]) {
    const script = await scripted(t, { status: 200, body: '{"models": []}' });
    await new Spotter(`${script.url}${end}`).models();
    assert.deepEqual(script.requests.map(({ line }) => line), ["GET /v1/models"]);
  }
});

test("a request is not sent again with the key that was refused", async (t) => {
  let asked = 0;
  const refusals = Array.from({ length: 4 }, () => problem(401, "api-key-invalid"));
  const script = await scripted(t, ...refusals);
  const onUnauthorized = async () => (asked += 1) < 4;
  await thrown(new Spotter(script.url, { apiKey: "the-same", onUnauthorized }).models(), ApiError);
  assert.deepEqual([asked, script.requests.length], [1, 1]);
});

test("headers of the caller are sent", async () => {
  const gateway = new Spotter(system.url, { headers: { "Content-Encoding": "gzip" } });
  const error = await thrown(gateway.detect(zidane), ApiError);
  assert.deepEqual([error.status, error.kind, error.advice], [415, "unsupported-media-type", "see docs/uploads.md"]);
});

test("a key of another picture is refused", async () => {
  await client.submit(zidane, { idempotencyKey: "the-same" });
  const other = client.submit(await pictureFile(`${PICTURES}/bus.jpg`), { idempotencyKey: "the-same" });
  assert.equal((await thrown(other, ApiError)).kind, "idempotency-key-reused");
});

test("what is no picture, and a wrong parameter, is explained", async () => {
  for (const content of ["", "not a picture"]) {
    assert.equal((await thrown(client.detect(new Blob([content])), ApiError)).status, 400);
  }
  const error = await thrown(client.detect(zidane, { confidence: 1.5 }), ApiError);
  assert.deepEqual(error.problem.errors?.map(({ parameter }) => parameter), ["confidence"]);
  assert.match(error.message, /^confidence .+ \(400, invalid-parameter\); correct the request$/);
});

test("an unknown task is not found", async () => {
  for (const id of ["0190b5a3-7c1e-7d2a-9f61-3a5d0c9e8b47", "../batches", "a/b?c#d", "ü"]) {
    const calls = [client.task(id), client.wait(id), client.cancel(id), client.image(id), all(client.events(id))];
    for (const error of await Promise.all(calls.map((call) => thrown(call, ApiError)))) {
      assert.ok([400, 404, 410].includes(error.status), `${id}: ${error}`);
    }
  }
});

test("an address where nothing listens is no answer", async () => {
  const error = await thrown(new Spotter("http://127.0.0.1:1", { retryFor: 0.3 }).models(), NoAnswerError);
  assert.match(error.message, /^the API does not answer/);
});
