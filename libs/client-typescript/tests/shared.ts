// The system that all tests use, and what they have in common.

import assert from "node:assert/strict";
import { after } from "node:test";
import { type FoundObject, Spotter, type Task } from "../src/index.js";
import { start } from "./system.js";

export const system = await start();
after(() => system.stop());

export const client = new Spotter(system.url);

export function labels({ objects = [] }: { objects?: FoundObject[] }): string[] {
  return objects.map(({ label }) => label).sort();
}

/** The error that `call` ends with, which is of this class. */
export async function thrown<E extends Error>(
  call: Promise<unknown> | (() => Promise<unknown>),
  kind: abstract new (...parameters: never[]) => E,
): Promise<E> {
  try {
    await (typeof call === "function" ? call() : call);
  } catch (error) {
    assert.ok(error instanceof kind, `not ${kind.name}: ${error}`);
    return error;
  }
  return assert.fail(`no ${kind.name}`);
}

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

export function ids(tasks: Task[]): string[] {
  return tasks.map(({ task_id }) => task_id);
}
