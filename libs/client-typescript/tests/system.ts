// Processes of the system under test.

import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

/** The tests are run in the folder of the package. */
export const PACKAGE = process.cwd();
export const ROOT = resolve(PACKAGE, "../..");
export const PICTURES = join(ROOT, "test_images");
const PROGRAM = process.env.SPOTTER_PROGRAM ?? join(ROOT, "target/debug/spotter");
/** All that a process under test inherits: a variable of the developer's must not configure it. */
const INHERITED = ["PATH", "HOME", "TMPDIR", "LANG"];

function withInherited(variables: Record<string, string>): Record<string, string | undefined> {
  return { ...Object.fromEntries(INHERITED.map((name) => [name, process.env[name]])), ...variables };
}

/** A process whose lines can be awaited. It dies with this one, also when this one is killed. */
class Process {
  readonly #child: ChildProcess;
  readonly #lines: string[] = [];
  readonly #changed = new EventEmitter();
  readonly #closed: Promise<void>;
  #hasClosed = false;

  constructor(command: string[], variables: Record<string, string>) {
    this.#child = spawn("setpriv", ["--pdeathsig", "TERM", "--", ...command], {
      cwd: ROOT,
      env: withInherited(variables),
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      assert.ok(stream);
      createInterface(stream).on("line", (line) => {
        this.#lines.push(line);
        this.#changed.emit("change");
      });
    }
    this.#closed = once(this.#child, "close").then(() => {
      this.#hasClosed = true;
      this.#changed.emit("change");
    });
  }

  /** What the group of `pattern` matches, once the process has written that. */
  async find(pattern: RegExp): Promise<string> {
    for (;;) {
      const found = this.#lines.map((line) => pattern.exec(line)?.[1]).find((text) => text !== undefined);
      if (found !== undefined) return found;
      // A process that a signal has ended has no exit code.
      assert.ok(!this.#hasClosed, `nothing like ${pattern}:\n${this.#lines.join("\n")}`);
      await once(this.#changed, "change");
    }
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#closed;
  }
}

/** `spotter up`, an API on the same queue that requires keys, and one with a queue of its own and no worker. */
export interface System {
  /** The address of an API that requires no key. */
  url: string;
  keyed: { url: string; apiKey: string };
  /** Its tasks stay in the queue. */
  lonely: { url: string };
  stop(): Promise<void>;
}

export async function start(): Promise<System> {
  const data = await mkdtemp(join(tmpdir(), "spotter-client-typescript-"));
  const settings = join(data, "settings.env");
  await writeFile(settings, "");
  const processes: Process[] = [];
  const started = (command: string[], variables: Record<string, string>) => {
    const process = new Process(command, variables);
    processes.unshift(process);
    return process;
  };
  const options = ["--port", "0", "--workers", "1", "--data-dir", join(data, "up"), "--env-file", settings];
  const up = started([PROGRAM, "up", ...options], { QUEUE_MAX_BYTES: String(256 << 20) });
  const nats = started(
    [join(ROOT, ".cache/bin/nats-server"), "-a", "127.0.0.1", "-p", "-1", "-js", "-sd", join(data, "lonely")],
    {},
  );
  const natsUrl = { NATS_URL: `nats://127.0.0.1:${await up.find(/NATS on port (\d+)/)}` };
  const url = await up.find(/^ +API +(http:\/\/\S+)/);
  const create = [PROGRAM, "key", "create", "--name", "a test"] as const;
  const { stdout } = await promisify(execFile)(create[0], create.slice(1), { cwd: ROOT, env: withInherited(natsUrl) });
  const ofApi = { PORT: "0" };
  const keyed = started([PROGRAM, "api"], { ...natsUrl, ...ofApi, AUTH: "keys" });
  const lonelyNats = await nats.find(/Listening for client connections on (\S+)/);
  await nats.find(/(Server is ready)/);
  const lonely = started([PROGRAM, "api"], { ...ofApi, NATS_URL: `nats://${lonelyNats}` });
  const listening = /^listening on (http:\/\/\S+)/;
  return {
    url,
    keyed: { url: await keyed.find(listening), apiKey: stdout.trim() },
    lonely: { url: await lonely.find(listening) },
    async stop() {
      for (const process of processes) await process.stop();
      await rm(data, { recursive: true });
    },
  };
}
