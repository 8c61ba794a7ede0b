// Streams of events: their text, and following a task over lost connections.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Connection } from "../src/connection.js";
import { follow } from "../src/follow.js";
import { ApiError, NoAnswerError, Spotter, type Task, UnexpectedAnswerError, isFinished } from "../src/index.js";
import { EventParser, type ServerEvent } from "../src/event-stream.js";
import { LineSplitter } from "../src/lines.js";
import { pictureFile } from "../src/node.js";
import { event, events, problem, scripted } from "./scripted.js";
import { all, client, system, thrown } from "./shared.js";
import { PICTURES } from "./system.js";

function parsed(pieces: string[]): ServerEvent[] {
  const [splitter, parser] = [new LineSplitter(), new EventParser()];
  return pieces.flatMap((piece) => splitter.push(piece)).flatMap((line) => parser.push(line) ?? []);
}

test("events are read whatever their line ends are, and wherever the text is cut", () => {
  const lines = [": a comment", "id: 1", "event: queued", "data: {", "data:}", "unknown: x", "retry: 1500", ""];
  const last = ["data", "", "id: 2", "", "event: nothing", "", "id: a\0b", "retry: 1s", "data:  two", "", "data: cut off"];
  const expected = [
    { id: "1", name: "queued", data: "{\n}", retry: 1.5 },
    { id: "1", name: "message", data: "", retry: 1.5 },
    { id: "2", name: "message", data: " two", retry: 1.5 },
  ];
  for (const end of ["\n", "\r\n", "\r"]) {
    const text = [...lines, ...last].join(end);
    assert.deepEqual(parsed([text]), expected);
    assert.deepEqual(parsed([...text]), expected, "character by character");
    assert.deepEqual(parsed(text.split(/(?<=\r)/)), expected, "cut within CRLF");
  }
});

test("lines and events are bounded", () => {
  const splitter = new LineSplitter();
  const piece = "x".repeat(1 << 20);
  assert.throws(() => {
    for (let pieces = 0; pieces < 20; pieces++) splitter.push(piece);
  }, UnexpectedAnswerError);
  const parser = new EventParser();
  assert.throws(() => {
    for (let lines = 0; lines < 20; lines++) parser.push(`data: ${piece}`);
  }, UnexpectedAnswerError);
});

test("a stream is continued where it broke off", async (t) => {
  const cut = events(":\n\n", event("queued", "0-q0", "QUEUED"), "id: 0-s1\nevent: started\nda");
  const script = await scripted(
    t,
    problem(503, "too-many-streams", { "Retry-After": "0" }),
    { ...cut, isCut: true },
    events(event("started", "0-s1", "STARTED")),
    events(event("succeeded", "0-s2", "SUCCESS"), event("queued", "behind the end", "QUEUED")),
  );
  const followed = await all(new Spotter(script.url).events("x"));
  const states = followed.map(({ kind, task }) => [kind, task.state]);
  assert.deepEqual(states, [["queued", "QUEUED"], ["started", "STARTED"], ["succeeded", "SUCCESS"]]);
  const lastIds = script.requests.map(({ headers }) => headers["last-event-id"]);
  assert.deepEqual(lastIds, [undefined, undefined, "0-q0", "0-s1"]);
});

test("a stream behind whose last event nothing follows ends", async (t) => {
  const script = await scripted(t, { status: 204 });
  assert.deepEqual(await all(new Spotter(script.url).events("x")), []);
});

test("a stream that never comes is given up", async (t) => {
  const script = await scripted(t, ...Array.from({ length: 50 }, () => events()));
  await thrown(all(new Spotter(script.url, { retryFor: 2 }).events("x")), NoAnswerError);
  assert.ok(script.requests.length >= 2 && script.requests.length < 15, `${script.requests.length} requests`);
});

test("a stream that was open for long before it broke off is no failure", async () => {
  let seconds = 0;
  const bytes = (text: string) => new TextEncoder().encode(text);
  /** A stream that breaks off behind these texts. The first one comes at once, each other ten seconds after the one before. */
  const stream = (...texts: string[]) => {
    let pieces = 0;
    const pull = (controller: ReadableStreamDefaultController) => {
      const text = texts[pieces];
      if (text === undefined) return controller.error(new Error("cut"));
      if (pieces > 0) seconds += 10;
      pieces += 1;
      controller.enqueue(bytes(text));
    };
    const body = new ReadableStream({ pull }, { highWaterMark: 0 });
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  };
  const quiet = () => stream(":\n\n", ":\n\n");
  const followed = async (...answers: Response[]) => {
    const fetch = async () => {
      seconds += 3;
      return answers.shift() ?? stream();
    };
    const connection = new Connection("http://127.0.0.1", { fetch });
    const following = { path: "/", isLast: isFinished, retryFor: 4, signal: undefined };
    return all(follow<Task>(connection, following, { now: () => seconds, random: () => 0 }));
  };
  const [queued, done] = [event("queued", "1", "QUEUED"), event("succeeded", "2", "SUCCESS")];
  const found = await followed(stream(queued), quiet(), quiet(), stream(done));
  assert.deepEqual(found.map(({ kind }) => kind), ["queued", "succeeded"]);
  // One that breaks off at once is a failure, whatever comes first.
  await thrown(followed(stream(queued), stream(":\n\n"), stream(":\n\n"), stream(done)), NoAnswerError);
});

test("a task is followed to its end", async () => {
  const task = await client.submit(await pictureFile(`${PICTURES}/zidane.jpg`), { cacheControl: "no-cache" });
  const followed = await all(client.events(task));
  const last = followed.at(-1);
  assert.equal(last?.kind, "succeeded");
  assert.deepEqual(last?.task, await client.wait(task));
});

test("a consumer that stops early, and an aborted one, close the stream", async () => {
  const lonely = new Spotter(system.lonely.url);
  const task = await lonely.submit(await pictureFile(`${PICTURES}/zidane.jpg`));
  for await (const { kind } of lonely.events(task)) {
    assert.equal(kind, "queued");
    break;
  }
  const controller = new AbortController();
  const following = lonely.events(task, { signal: controller.signal });
  await following.next();
  const next = following.next();
  controller.abort();
  await assert.rejects(next, { name: "AbortError" });
  assert.equal((await lonely.cancel(task)).state, "REVOKED");
  assert.equal((await all(lonely.events(task))).at(-1)?.kind, "revoked");
});

test("the state of the system is followed", async () => {
  for await (const snapshot of client.operations()) {
    assert.equal(snapshot.workers?.length, 1);
    break;
  }
  const keyed = new Spotter(system.keyed.url, { apiKey: system.keyed.apiKey });
  assert.equal((await thrown(keyed.operations().next(), ApiError)).kind, "scope-missing");
});
