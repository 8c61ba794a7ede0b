// A plot of the last minutes by uPlot, with a legend that has the values at the cursor, or the last ones.

import { useSignal } from "@preact/signals";
import { useEffect, useId, useMemo, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { UNKNOWN, clock } from "../../format";
import type { Columns } from "../../operations/history";
import { texts } from "../../texts";
import { isDark } from "./colour-scheme";
import { SERIES, type Scale, type Size, optionsOf } from "./plot-options";

interface Properties {
  title: string;
  names: string[];
  columns: Columns;
  scale: Scale;
}

export function Plot({ title, names, columns, scale }: Properties) {
  const heading = useId();
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shownAt = useSignal<number | null>(null);
  const key = names.join("\n");
  const data = useMemo((): uPlot.AlignedData => [columns.times, ...columns.lines], [columns]);

  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const created = new uPlot(
      optionsOf({ lines: names.length, size: sizeOf(element), scale, onCursor: (index) => (shownAt.value = index) }),
      data,
      element,
    );
    plot.current = created;
    const observer = new ResizeObserver(() => created.setSize(sizeOf(element)));
    observer.observe(element);
    return () => {
      observer.disconnect();
      created.destroy();
      plot.current = null;
      shownAt.value = null;
    };
  }, [key, isDark.value]);
  useEffect(() => plot.current?.setData(data), [data]);

  const { times, lines } = columns;
  const index = shownAt.value !== null && shownAt.value < times.length ? shownAt.value : times.length - 1;
  const time = shownAt.value === null ? undefined : times[index];
  return (
    <figure class="plot">
      <figcaption id={heading} class="plot-heading">
        <h3>{title}</h3>
        <span class="quiet">{time === undefined ? "" : clock(time * 1000)}</span>
      </figcaption>
      <div
        ref={place}
        class="plot-canvas"
        role="img"
        tabIndex={0}
        aria-label={texts.operations.plot(title)}
        onKeyDown={(event) => plot.current && moveCursor(event, plot.current, shownAt.value)}
        onBlur={() => plot.current && hideCursor(plot.current)}
      />
      <ul class="legend" aria-labelledby={heading}>
        {names.map((name, line) => (
          <li key={name}>
            <svg class="legend-line" viewBox="0 0 20 4" aria-hidden="true">
              <path class={`series-${line % SERIES.length}`} d="M0 2h20" stroke-dasharray={dashOf(line)} />
            </svg>
            <span class="legend-name" title={name}>
              {name}
            </span>
            <span class="number">{index < 0 ? UNKNOWN : scale.format(lines[line]?.[index] ?? null)}</span>
          </li>
        ))}
      </ul>
    </figure>
  );
}

function dashOf(line: number): string {
  return (SERIES[line % SERIES.length]?.dash ?? []).join(" ");
}

function sizeOf(element: HTMLElement): Size {
  return { width: element.clientWidth, height: element.clientHeight };
}

/** Arrow keys, Home and End show the values of other times; Escape shows the last ones again. */
function moveCursor(event: KeyboardEvent, plot: uPlot, shownAt: number | null): void {
  const times = plot.data[0];
  const last = times.length - 1;
  const from = shownAt ?? last;
  const places: Record<string, number> = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last };
  if (event.key === "Escape") return hideCursor(plot);
  const to = places[event.key];
  if (to === undefined || last < 0) return;
  event.preventDefault();
  const time = times[Math.max(0, Math.min(last, to))] ?? 0;
  plot.setCursor({ left: plot.valToPos(time, "x"), top: 0 });
}

function hideCursor(plot: uPlot): void {
  plot.setCursor({ left: -10, top: -10 });
}
