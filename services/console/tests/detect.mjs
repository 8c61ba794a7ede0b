// A person sends pictures and sees their objects.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { promisify } from "node:util";
import { choose, listedObjects, open, untilDone } from "./browser.mjs";

const { CONSOLE_URL: url, PICTURES: pictures } = process.env;
const bus = `${pictures}/bus.jpg`;
const zidane = `${pictures}/zidane.jpg`;

/** The table of the original application's README, with corners in whole pixels. */
const BUS = [
  ["bus", 0.87345, [23, 231, 805, 757]],
  ["person", 0.86569, [49, 399, 245, 903]],
  ["person", 0.85284, [669, 392, 810, 877]],
  ["person", 0.82522, [222, 406, 345, 858]],
  ["person", 0.26111, [0, 551, 63, 873]],
  ["stop sign", 0.25507, [0, 254, 33, 325]],
];

function assertBus(objects) {
  assert.equal(objects.length, BUS.length, JSON.stringify(objects));
  objects.forEach(({ label, confidence, corners }, index) => {
    const [name, score, expected] = BUS[index];
    assert.equal(label, name);
    assert.ok(Math.abs(confidence - score) <= 0.004, `${name}: ${confidence}, expected ${score}`);
    corners.forEach((corner, side) => assert.ok(Math.abs(corner - expected[side]) <= 1, `${name}: ${corners}`));
  });
}

/** The colour of the canvas at a point of the picture, in the picture's pixels. */
function boxColour(page, x, y) {
  return page.locator(".viewer-boxes").evaluate(
    (canvas, [x, y]) => {
      const picture = document.querySelector(".viewer-picture").getBoundingClientRect();
      const { naturalWidth } = document.querySelector(".viewer-picture");
      const viewer = canvas.getBoundingClientRect();
      const scale = picture.width / naturalWidth;
      const [left, top] = [picture.left - viewer.left + x * scale, picture.top - viewer.top + y * scale];
      const density = canvas.width / viewer.width;
      return [...canvas.getContext("2d").getImageData(left * density, top * density, 1, 1).data];
    },
    [x, y],
  );
}

test("a picture's boxes have the reference's numbers, in the list and on the canvas", async (t) => {
  const page = await open(t, url);
  await choose(page, bus);
  await untilDone(page, 1);
  assertBus(await listedObjects(page));
  // The left edge of the bus is drawn, and nothing is in the middle of it.
  await page.waitForFunction(() => document.querySelector(".viewer-picture").style.transform !== "");
  const [, , , opacity] = await boxColour(page, 22.9, 500);
  assert.equal(opacity, 255);
  assert.deepEqual(await boxColour(page, 600, 500), [0, 0, 0, 0]);
});

test("the slider and the class filter act without another run", async (t) => {
  const page = await open(t, url);
  await choose(page, bus);
  await untilDone(page, 1);
  const requests = [];
  page.on("request", (request) => requests.push(request.url()));
  const confidence = page.getByLabel("Confidence", { exact: true });
  await confidence.fill("0.5");
  assert.deepEqual((await listedObjects(page)).map(({ label }) => label), ["bus", "person", "person", "person"]);
  await confidence.fill("0.05");
  assert.ok((await listedObjects(page)).length > BUS.length);
  await confidence.fill("0.5");
  await page.getByRole("checkbox", { name: /person/ }).uncheck();
  assert.deepEqual((await listedObjects(page)).map(({ label }) => label), ["bus"]);
  await page.getByRole("button", { name: "Show all" }).click();
  await page.getByRole("button", { name: "Show only person" }).click();
  assert.equal((await listedObjects(page)).length, 3);
  assert.deepEqual(requests, []);
});

test("the keyboard zooms and moves the picture", async (t) => {
  const page = await open(t, url);
  await choose(page, zidane);
  await untilDone(page, 1);
  const placement = () => page.locator(".viewer-picture").evaluate((picture) => picture.style.transform);
  const whole = await placement();
  await page.locator(".viewer-boxes").focus();
  const changes = async (key, before) => {
    await page.keyboard.press(key);
    await page.waitForFunction((before) => document.querySelector(".viewer-picture").style.transform !== before, before);
    return placement();
  };
  const zoomed = await changes("+", whole);
  const moved = await changes("ArrowRight", zoomed);
  assert.equal(await changes("0", moved), whole);
});

test("a file that is no picture is explained", async (t) => {
  const page = await open(t, url);
  await choose(page, { name: "notes.jpg", mimeType: "image/jpeg", buffer: Buffer.from("no picture") });
  const alert = page.getByRole("alert").filter({ hasText: "JPEG, PNG, WebP, BMP or GIF" });
  await alert.waitFor();
  assert.match(await alert.innerText(), /Send a complete JPEG/);
  // Among others, it is left out.
  const picture = { name: "zidane.jpg", mimeType: "image/jpeg", buffer: await readFile(zidane) };
  await choose(page, [picture, { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("-") }]);
  await page.getByText("1 file is no picture and was left out.").waitFor();
});

test("a server that cannot be reached is explained, and the picture can be run again", async (t) => {
  const page = await open(t, url);
  await page.route("**/v1/tasks?*", (route) => route.fulfill({ status: 500, body: "" }));
  await choose(page, zidane);
  await page.getByRole("alert").filter({ hasText: "500" }).waitFor();
  await page.unroute("**/v1/tasks?*");
  await page.getByRole("button", { name: "Run again" }).click();
  await untilDone(page, 1);
});

test("a folder of fifty goes on after a reload in the middle, and each picture is run once", async (t) => {
  const page = await open(t, url);
  const [one, other] = [await readFile(bus), await readFile(zidane)];
  const files = Array.from({ length: 50 }, (_, index) => ({
    name: `picture-${index}.jpg`,
    mimeType: "image/jpeg",
    buffer: index % 2 ? one : other,
  }));
  const sent = new Set();
  page.on("request", (request) => {
    if (request.method() === "POST") sent.add(request.headers()["idempotency-key"]);
  });
  await choose(page, files);
  await page.waitForFunction(() => document.querySelector("progress")?.value >= 5);
  // A page that is left before the browser has stored the pictures has lost those that were not submitted.
  await page.waitForFunction(
    () =>
      new Promise((resolve) => {
        const opening = indexedDB.open("spotter-console");
        opening.onsuccess = () => {
          const count = opening.result.transaction("contents").objectStore("contents").count();
          count.onsuccess = () => resolve(count.result === 50);
        };
      }),
  );
  await page.reload();
  await page.locator("progress").waitFor();
  assert.ok((await page.locator("progress").evaluate(({ value }) => value)) < 50, "the reload came too late");
  await untilDone(page, 50);
  assert.equal(sent.size, 50);
  // The pictures are there as well, and not only their results.
  assert.equal(await page.locator(".pictures img").count(), 50);
  await page.getByRole("button", { name: "picture-1.jpg" }).click();
  assertBus(await listedObjects(page));
});

test("a folder's pictures are taken, and its other files left out", async (t) => {
  const page = await open(t, url);
  await page.locator("[data-input=folder]").setInputFiles(pictures);
  await untilDone(page, 5);
  await page.getByText("1 file is no picture and was left out.").waitFor();
  await page.getByRole("button", { name: "/bus.jpg" }).click();
  assertBus(await listedObjects(page));
});

test("pointing at a box highlights its row, and the other way round", async (t) => {
  const page = await open(t, url);
  await choose(page, bus);
  await untilDone(page, 1);
  const picture = await page.locator(".viewer-picture").boundingBox();
  // The person at the right: pointing at it means the smaller box, not that of the bus.
  await page.mouse.move(picture.x + (picture.width * 740) / 810, picture.y + (picture.height * 600) / 1080);
  await page.locator(".object.is-highlighted", { hasText: "669, 392" }).waitFor();
  const before = await boxColour(page, 100, 700);
  await page.locator(".object", { hasText: "49, 399" }).hover();
  await page.locator(".object.is-highlighted", { hasText: "49, 399" }).waitFor();
  await page.waitForFunction(() => new Promise((done) => requestAnimationFrame(() => done(true))));
  assert.notDeepEqual(await boxColour(page, 100, 700), before);
});

test("a sample is one click away", async (t) => {
  const page = await open(t, url);
  await page.getByRole("button", { name: "sample bus.jpg" }).click();
  await untilDone(page, 1);
  assertBus(await listedObjects(page));
});

test("pictures are dropped and pasted", async (t) => {
  const page = await open(t, url);
  const bytes = (await readFile(zidane)).toString("base64");
  await page.evaluate((bytes) => {
    const content = Uint8Array.from(atob(bytes), (character) => character.charCodeAt(0));
    const given = new DataTransfer();
    given.items.add(new File([content], "zidane.jpg", { type: "image/jpeg" }));
    const target = document.querySelector(".page");
    target.dispatchEvent(new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true }));
    document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: given, bubbles: true, cancelable: true }));
  }, bytes);
  await untilDone(page, 2);
});

test("the camera's frames are answered one after the other", async (t) => {
  const page = await open(t, url);
  await page.getByRole("button", { name: "Use the camera" }).click();
  await page.getByText(/^[\d.]+ frames\/s$/).waitFor();
  await page.getByRole("button", { name: "Stop the camera" }).click();
  await page.getByRole("heading", { name: "Find objects in your pictures" }).waitFor();
});

test("the copied request gives the same result", async (t) => {
  const page = await open(t, url);
  await choose(page, bus);
  await untilDone(page, 1);
  await page.getByLabel("Confidence", { exact: true }).fill("0.05");
  const expected = (await listedObjects(page)).length;
  const run = (program, args) => promisify(execFile)(program, args, { cwd: pictures });
  const programs = {
    curl: (code) => run("bash", ["-c", code]),
    Python: (code) => run("python3", ["-c", code.replace("print(json.load", "print(json.dumps(json.load").concat(")")]),
    JavaScript: (code) => run("node", ["--input-type=module", "-e", code.replace(/console.log\((.*)\);$/, "console.log(JSON.stringify($1));")]),
  };
  for (const [language, execute] of Object.entries(programs)) {
    await page.getByRole("radio", { name: language }).check();
    await page.getByRole("button", { name: "Copy" }).click();
    const code = await page.evaluate(() => navigator.clipboard.readText());
    const { stdout } = await execute(code);
    // curl prints the accepted task, then the finished one.
    const finished = JSON.parse(stdout.slice(stdout.lastIndexOf('{"attempts"')));
    assert.equal(finished.state, "SUCCESS", language);
    assert.equal(finished.objects.length, expected, language);
  }
});

test("downloads are what the API has in these formats", async (t) => {
  const page = await open(t, url);
  await choose(page, bus);
  await untilDone(page, 1);
  await page.getByLabel("Confidence", { exact: true }).fill("0.05");
  const downloaded = async (name) => {
    const arriving = page.waitForEvent("download");
    await page.getByRole("button", { name, exact: true }).click();
    const download = await arriving;
    return { name: download.suggestedFilename(), content: await readFile(await download.path()) };
  };
  const json = await downloaded("JSON");
  assert.equal(json.name, "bus.json");
  const task = JSON.parse(json.content);
  const ofApi = async (format) => (await fetch(`${url}/v1/tasks/${task.task_id}?format=${format}`)).text();
  const coco = await downloaded("COCO");
  assert.deepEqual(JSON.parse(coco.content), JSON.parse(await ofApi("coco")));
  const yolo = await downloaded("YOLO");
  assert.equal(yolo.name, "bus.txt");
  assert.equal(yolo.content.toString(), await ofApi("yolo"));
  const drawn = await downloaded("Picture with boxes");
  assert.equal(drawn.content.subarray(1, 4).toString(), "PNG");
});

test("a picture that waits is cancelled, and then its task is", async (t) => {
  const page = await open(t, process.env.IDLE_URL);
  await choose(page, [bus, zidane]);
  await page.getByRole("button", { name: /In the queue/ }).first().waitFor();
  const submitted = page.waitForRequest((request) => request.method() === "DELETE");
  await page.getByRole("button", { name: "Cancel", exact: true }).click();
  await page.locator(".badge", { hasText: "Cancelled" }).waitFor();
  const task = await (await fetch((await submitted).url())).json();
  assert.equal(task.state, "REVOKED");
  await page.getByRole("button", { name: "Cancel all" }).click();
  await page.getByRole("button", { name: "Clear" }).click();
  await page.getByRole("heading", { name: "Find objects in your pictures" }).waitFor();
});

test("the model picker has what the API lists", async (t) => {
  const page = await open(t, "about:blank");
  // Chromium may have dropped the body of a response by the time that it is asked for.
  const listed = new Promise((resolve) =>
    page.route("**/v1/models", async (route) => {
      const answer = await route.fetch();
      resolve((await answer.json()).models);
      await route.fulfill({ response: answer });
    }),
  );
  await page.goto(url);
  const [model] = (await listed).filter(({ served, latency }) => served && latency);
  const expected = `${model.name} · ${model.latency.mean_ms.toFixed(0)} ms · ${model.licence ?? "licence not stated"}`;
  await page.getByLabel("Model").selectOption({ label: expected });
  const request = page.waitForRequest((request) => request.method() === "POST");
  await choose(page, zidane);
  assert.match((await request).url(), new RegExp(`[?&]model=${model.name}(&|$)`));
  await untilDone(page, 1);
});
