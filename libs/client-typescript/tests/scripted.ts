// A server that gives the answers of a script, for what a real one does not do on demand.

import { readFileSync } from "node:fs";
import { type IncomingHttpHeaders, type RequestListener, createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Task } from "../src/index.js";
import { ROOT } from "./system.js";

/** An answer. One that `isCut` breaks off behind its body. */
export interface Answer {
  status: number;
  body?: string;
  headers?: Record<string, string>;
  isCut?: boolean;
}

export interface Script {
  url: string;
  /** The requests so far. */
  requests: { line: string; headers: IncomingHttpHeaders; body: string }[];
}

/** A task of the document, in any state. */
export const TASK: Task = JSON.parse(readFileSync(join(ROOT, "openapi.json"), "utf8")).components.schemas.Task.example;

export const DONE: Answer = { status: 200, body: JSON.stringify(TASK) };

export function problem(status: number, kind: string, headers: Record<string, string> = {}): Answer {
  const described = { type: `urn:problem-type:spotter:${kind}`, title: "A title", status, detail: "A detail" };
  return { status, body: JSON.stringify(described), headers };
}

/** A server with these answers, until the end of the test `t`. Without an answer, the connection is cut. */
export async function scripted(t: TestContext, ...answers: Answer[]): Promise<Script> {
  const script: Script = { url: "", requests: [] };
  const listener: RequestListener = async (request, response) => {
    let body = "";
    try {
      for await (const chunk of request) body += chunk;
    } catch {
      // The client has broken off.
      return;
    }
    script.requests.push({ line: `${request.method} ${request.url}`, headers: request.headers, body });
    const answer = answers.shift();
    if (!answer) {
      request.socket.destroy();
      return;
    }
    response.writeHead(answer.status, answer.headers);
    if (answer.isCut) response.write(answer.body ?? "", () => request.socket.destroy());
    else response.end(answer.body);
  };
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  script.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return script;
}

export function events(...sent: string[]): Answer {
  return { status: 200, body: sent.join(""), headers: { "Content-Type": "text/event-stream" } };
}

/** A stream that stays open without events. */
export function openStream(): Answer {
  const headers = { "Content-Type": "text/event-stream", "Content-Length": "100" };
  return { status: 200, body: ":\n\n", headers };
}

export function event(name: string, id: string, state: Task["state"]): string {
  return `retry: 10\nid: ${id}\nevent: ${name}\ndata: ${JSON.stringify({ ...TASK, state })}\n\n`;
}
