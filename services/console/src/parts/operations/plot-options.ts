// How uPlot draws a plot of this page.

import type uPlot from "uplot";
import { SHOWN_SECONDS } from "../../operations/history";

/** The lines' dashes: lines differ by more than their colour. Their colours are in operations.css. */
export const SERIES: { dash: number[] }[] = [
  { dash: [] }, { dash: [6, 3] }, { dash: [2, 2] }, { dash: [] },
  { dash: [6, 3] }, { dash: [2, 2] }, { dash: [] }, { dash: [6, 3] },
];

export interface Size {
  width: number;
  height: number;
}

/** How the values of a plot are written. */
export interface Scale {
  format: (value: number | null) => string;
  /** The least difference that `format` shows: the axis has no finer steps. */
  leastStep: number;
}

interface Wanted {
  lines: number;
  size: Size;
  scale: Scale;
  /** Told the index of the time that the cursor is at; `null`: it is nowhere. */
  onCursor: (index: number | null) => void;
}

export function optionsOf({ lines, size, scale: { format, leastStep }, onCursor }: Wanted): uPlot.Options {
  const em = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const axis = { stroke: colour("--quiet"), font: `${0.78 * em}px system-ui, sans-serif`, ticks: { show: false } };
  const grid = { stroke: colour("--line"), width: 1 };
  return {
    ...size,
    padding: [0.6 * em, 1.8 * em, 0, 0],
    legend: { show: false },
    // Plots show the same time.
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 }, sync: { key: "operations" } },
    scales: {
      x: { range: ({ data: [times] }) => lastMinutes(times) },
      // From nought, so that heights can be compared.
      y: { range: (_plot, _least, most) => [0, Math.max(most * 1.1, 4 * leastStep)] },
    },
    axes: [
      { ...axis, size: 1.7 * em, space: 5 * em, grid: { show: false }, values: timesOfDay },
      { ...axis, size: 4 * em, space: 2 * em, grid, incrs: stepsFrom(leastStep), values: (_plot, values) => values.map(format) },
    ],
    series: [
      {},
      ...Array.from({ length: lines }, (_, line) => ({
        stroke: colour(`--series-${line % SERIES.length}`),
        dash: SERIES[line % SERIES.length]?.dash ?? [],
        width: 1.5,
        points: { show: false },
      })),
    ],
    hooks: { setCursor: [({ cursor }) => onCursor(cursor.idx ?? null)] },
  };
}

/** By the last time itself: for a single time uPlot would make up a day. */
function lastMinutes(times: ArrayLike<number>): [number, number] {
  const last = times[times.length - 1] ?? Date.now() / 1000;
  return [last - SHOWN_SECONDS, last];
}

/** 1, 2, 5, 10, 20, 50 and so on, times the least step. */
function stepsFrom(leastStep: number): number[] {
  const powers = Array.from({ length: 10 }, (_, exponent) => 10 ** exponent);
  return powers.flatMap((power) => [1, 2, 5].map((digit) => digit * power * leastStep));
}

function colour(variable: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
}

/** With seconds where the steps are less than a minute. */
function timesOfDay(_plot: uPlot, times: number[], _axis: number, _space: number, step: number): string[] {
  const two = (number: number) => String(number).padStart(2, "0");
  return times.map((time) => {
    const date = new Date(time * 1000);
    const minutes = `${two(date.getHours())}:${two(date.getMinutes())}`;
    return step < 60 ? `${minutes}:${two(date.getSeconds())}` : minutes;
  });
}
