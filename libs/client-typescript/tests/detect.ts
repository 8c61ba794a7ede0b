// Pictures of all kinds, detected by a real system.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { ApiError, type PictureSource, Spotter, TaskFailedError, WaitTimeoutError } from "../src/index.js";
import { pictureFile } from "../src/node.js";
import { all, client, ids, labels, system, thrown } from "./shared.js";
import { PICTURES } from "./system.js";

const path = `${PICTURES}/zidane.jpg`;
const bytes = await readFile(path);
const bus = await pictureFile(`${PICTURES}/bus.jpg`);

test("a picture may be a file, a Blob or bytes", async () => {
  const task = await client.detect(await pictureFile(path));
  assert.deepEqual([task.state, task.picture_name, task.width, task.height], ["SUCCESS", "zidane.jpg", 1280, 720]);
  assert.ok(labels(task).includes("person"));
  const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
  const blob = new Blob([buffer], { type: "image/jpeg" });
  const pictures: PictureSource[] = [bytes, buffer, new DataView(buffer), blob, await pictureFile(pathToFileURL(path))];
  for (const picture of pictures) assert.deepEqual(labels(await client.detect(picture)), labels(task));
  assert.equal((await client.detect({ content: blob, name: "other.jpg" })).picture_name, "other.jpg");
  assert.equal((await client.detect(blob)).picture_name, "picture");
});

test("what is no picture is refused before it is sent", async () => {
  for (const picture of [7, null, {}, { content: "x", name: "x" }, "bus.jpg"]) {
    const error = await thrown(() => client.detect(picture as PictureSource), TypeError);
    assert.match(error.message, /^not a picture/);
  }
});

test("a name may have any characters", async () => {
  for (const name of ["автобус 🚌.jpg", "a'b\"c%41;d.jpg", "a\nb.jpg", "+=-*().jpg", "\ud83d.jpg"]) {
    const task = await client.submit({ content: bytes, name });
    // The API replaces control characters; half a character cannot be sent.
    assert.equal(task.picture_name, name.replace(/[\n\ud83d](?![\udc00-\udfff])/, "\ufffd"));
  }
});

test("parameters reach the API", async () => {
  const task = await client.detect(bus, {
    classes: ["dog", "bus"],
    confidence: 0.5,
    priority: "high",
    metadata: { camera: "Tür", n: 1 },
    maxDetections: 2,
    classAgnostic: true,
    deadline: 600,
  });
  assert.deepEqual(labels(task), ["bus"]);
  assert.deepEqual(labels(await client.detect(bus, { classes: ["bus", "person"], maxDetections: 2 })), ["bus", "person"]);
  assert.deepEqual([task.priority, task.metadata], ["high", { camera: "Tür", n: 1 }]);
  const waits = Date.parse(task.deadline ?? "") - Date.parse(task.submitted_at);
  assert.ok(Math.abs(waits - 600_000) < 1000, `${waits} ms`);
});

test("the same key is the same task", async () => {
  const same = await Promise.all([1, 2, 3].map(() => client.submit(bus, { idempotencyKey: "order-1" })));
  assert.equal(new Set(ids(same)).size, 1);
  assert.notEqual((await client.submit(bus)).task_id, (await client.submit(bus)).task_id);
});

test("the known result is used unless the caller says otherwise", async () => {
  await client.detect(bus);
  assert.equal((await client.detect(bus)).cached, true);
  assert.notEqual((await client.detect(bus, { cacheControl: "no-cache" })).cached, true);
});

test("drawings and files of other tools are waited for", async () => {
  const task = await client.submit(bus, { annotated: "png" });
  const drawing = await client.image(task);
  assert.equal(drawing.type, "image/png");
  assert.deepEqual([...new Uint8Array(await drawing.arrayBuffer()).slice(0, 4)], [0x89, 0x50, 0x4e, 0x47]);
  const lines = (await client.result(task.task_id, "csv")).trimEnd().split(/\r?\n/);
  assert.equal(lines.length, ((await client.wait(task)).objects?.length ?? 0) + 1);
});

test("tasks are listed over pages", async () => {
  const began = new Date(Date.now() - 60_000);
  const submitted = [];
  for (let number = 0; number < 5; number++) submitted.push(await client.submit(bus, { metadata: { list: "of mine" } }));
  const listed = await all(client.tasks({ metadata: ["list=of mine"], limit: 2, submittedAfter: began }));
  assert.deepEqual(ids(listed), ids(submitted).reverse());
  assert.deepEqual(await all(client.tasks({ metadata: ["list=of mine"], state: ["FAILURE", "REVOKED"] })), []);
});

test("models are listed", async () => {
  const models = await client.models();
  assert.deepEqual(models.filter((model) => model.default).map(({ name }) => name), ["yolov8n"]);
});

test("a URL is fetched by the API, and not shown", async () => {
  // The system under test reaches no public host; the API refuses others.
  for (const url of ["https://127.0.0.1/bus.jpg?token=secret", new URL("https://127.0.0.1/bus.jpg?token=secret")]) {
    const error = await thrown(client.detect(url), ApiError);
    assert.equal(error.kind, "url-refused");
    assert.ok(!error.message.includes("secret"), error.message);
  }
});

test("any other route can be asked", async () => {
  const request = { method: "GET", path: "/openapi.json" } as const;
  const document = await client.json<{ info: { title: string } }>(request);
  assert.equal(document.info.title, "spotter");
  assert.deepEqual(JSON.parse(await (await client.content(request)).text()), document);
});

test("waiting ends in time, and the task goes on until it is cancelled", async () => {
  const lonely = new Spotter(system.lonely.url);
  const { unfinished } = await thrown(lonely.detect(bus, { timeout: 0.5 }), WaitTimeoutError);
  assert.ok("task_id" in unfinished);
  await assert.rejects(lonely.wait(unfinished, { timeout: 0 }), WaitTimeoutError);
  await assert.rejects(lonely.result(unfinished, "voc", { timeout: 0 }), WaitTimeoutError);
  const waiting = lonely.wait(unfinished);
  assert.equal((await lonely.task(unfinished)).state, "QUEUED");
  assert.equal((await lonely.cancel(unfinished)).state, "REVOKED");
  assert.equal((await lonely.cancel(unfinished)).state, "REVOKED", "to cancel it again is no error");
  assert.equal((await waiting).state, "REVOKED");
  assert.equal((await thrown(lonely.image(unfinished), ApiError)).status, 404);
});

test("a task without a result is an error", async () => {
  const lonely = new Spotter(system.lonely.url);
  const detecting = thrown(lonely.detect(bus, { idempotencyKey: "this-one" }), TaskFailedError);
  await lonely.cancel(await lonely.submit(bus, { idempotencyKey: "this-one" }));
  const error = await detecting;
  assert.equal(error.task.state, "REVOKED");
  assert.match(error.message, /of bus.jpg ended as REVOKED/);
});
