// The last minutes of snapshots, as the plots show them.

import { type Operations, type Stage, processKey } from "../api/operations";

/** How far the plots go back, in seconds. */
export const SHOWN_SECONDS = 300;

/** Over how many seconds rates are averaged: APIs report their totals every few seconds. */
const RATE_SECONDS = 10;

/** Snapshots further apart than this, in seconds, have a gap between them: nobody watched. */
const GAP_SECONDS = 5;

interface Totals {
  accepted: number;
  ended: number;
  failed: number;
}

/** One snapshot's part of the plots. */
export interface Point {
  /** Seconds since 1970. */
  at: number;
  /** Jobs that wait, by lane. */
  lanes: ReadonlyMap<string, number>;
  totals: Totals;
  /** Whose totals these are. */
  processes: string;
  /** Per second; `null` where they are not known yet. */
  rates: Record<keyof Totals, number | null>;
  stages: ReadonlyMap<string, Stage>;
}

/** The history with another snapshot, without what is too old. */
export function extended(history: readonly Point[], snapshot: Operations): readonly Point[] {
  const at = Date.parse(snapshot.at) / 1000;
  const last = history.at(-1)?.at ?? -Infinity;
  // After a reconnect, another API's clock may be a little behind. One that is far behind begins the history again.
  if (at <= last && at > last - GAP_SECONDS) return history;
  const before = at > last ? history.filter((point) => point.at >= at - SHOWN_SECONDS) : [];
  const totals = totalsOf(snapshot);
  const processes = [...snapshot.workers, ...snapshot.apis].map(processKey).join();
  const recent = [...before.filter((point) => point.at >= at - RATE_SECONDS), { at, totals, processes }];
  const rates = {
    accepted: rateOf(recent, "accepted"),
    ended: rateOf(recent, "ended"),
    failed: rateOf(recent, "failed"),
  };
  const lanes = new Map((snapshot.queue.lanes ?? []).map((lane) => [laneName(lane), lane.waiting]));
  const stages = new Map(snapshot.stages.map((stage) => [stage.stage, stage]));
  return [...before, { at, lanes, totals, processes, rates, stages }];
}

function laneName({ model, priority }: { model: string; priority: string }): string {
  return `${model} ${priority}`;
}

function totalsOf({ tasks: { accepted, succeeded, failed, revoked, expired } }: Operations): Totals {
  return { accepted, ended: succeeded + failed + revoked + expired, failed };
}

/** Growth per second over these points. A process that begins or ends brings its own totals, or takes them away. */
function rateOf(points: Pick<Point, "at" | "totals" | "processes">[], total: keyof Totals): number | null {
  let [growth, seconds] = [0, 0];
  for (const [index, point] of points.entries()) {
    const before = points[index - 1];
    if (!before || before.processes !== point.processes || point.at - before.at > GAP_SECONDS) continue;
    growth += Math.max(0, point.totals[total] - before.totals[total]);
    seconds += point.at - before.at;
  }
  return seconds > 0 ? growth / seconds : null;
}

export type Values = (number | null)[];

/** The times of a plot, and for each of its lines the values at these times. */
export interface Columns {
  times: number[];
  lines: Values[];
}

/** `pick` has the values of a point, one for each line. Lines are interrupted where nobody watched. */
export function columnsOf(history: readonly Point[], lineCount: number, pick: (point: Point) => Values): Columns {
  const times: number[] = [];
  const lines: Values[] = Array.from({ length: lineCount }, () => []);
  const push = (at: number, values: Values) => {
    times.push(at);
    lines.forEach((line, index) => line.push(values[index] ?? null));
  };
  for (const point of history) {
    const last = times.at(-1);
    if (last !== undefined && point.at - last > GAP_SECONDS) push(last + 1, []);
    push(point.at, pick(point));
  }
  return { times, lines };
}
