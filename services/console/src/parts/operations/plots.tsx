// The plots: depth by lane, rates, and the times of each stage.

import { count, milliseconds, rate } from "../../format";
import { type Point, type Values, columnsOf } from "../../operations/history";
import { history } from "../../operations/live";
import { texts } from "../../texts";
import { Plot } from "./plot";
import type { Scale } from "./plot-options";

const JOBS: Scale = { format: count, leastStep: 1 };
const PER_SECOND: Scale = { format: rate, leastStep: 0.1 };
const MILLISECONDS: Scale = { format: milliseconds, leastStep: 0.1 };

/** More lanes than this are one line. */
const MOST_LANES = 7;

export function Plots() {
  return (
    <>
      <section class="plots" aria-label={texts.operations.plots}>
        <Lanes />
        <RatePlot />
      </section>
      <section class="plots is-small" aria-label={texts.operations.stages}>
        {stagesOf(history.value).map((stage) => (
          <StagePlot key={stage} stage={stage} />
        ))}
      </section>
    </>
  );
}

function Lanes() {
  const all = [...(history.value.at(-1)?.lanes.keys() ?? [])];
  const own = all.length > MOST_LANES ? all.slice(0, MOST_LANES - 1) : all;
  const names = own.length < all.length ? [...own, texts.operations.otherLanes(all.length - own.length)] : own;
  const values = ({ lanes }: Point): Values => {
    const rest = [...lanes].filter(([name]) => !own.includes(name)).reduce((sum, [, waiting]) => sum + waiting, 0);
    const waiting = own.map((name) => lanes.get(name) ?? null);
    return own.length < all.length ? [...waiting, rest] : waiting;
  };
  return (
    <Plot
      title={texts.operations.depth}
      names={names}
      columns={columnsOf(history.value, names.length, values)}
      scale={JOBS}
    />
  );
}

function RatePlot() {
  const { accepted, ended, failed } = texts.operations.rates;
  const values = ({ rates }: Point): Values => [rates.accepted, rates.ended, rates.failed];
  return (
    <Plot
      title={texts.operations.ratesTitle}
      names={[accepted, ended, failed]}
      columns={columnsOf(history.value, 3, values)}
      scale={PER_SECOND}
    />
  );
}

function StagePlot({ stage }: { stage: string }) {
  const values = ({ stages }: Point): Values => {
    const times = stages.get(stage);
    return [times?.p50_ms ?? null, times?.p95_ms ?? null, times?.p99_ms ?? null];
  };
  const names: Record<string, string> = texts.operations.stageNames;
  return (
    <Plot
      title={names[stage] ?? stage}
      names={["p50", "p95", "p99"]}
      columns={columnsOf(history.value, 3, values)}
      scale={MILLISECONDS}
    />
  );
}

/** The stages in the order of a job's way. They are known before the first snapshot, so the page does not jump. */
function stagesOf(history: readonly Point[]): string[] {
  const known = Object.keys(texts.operations.stageNames);
  const others = [...(history.at(-1)?.stages.keys() ?? [])].filter((stage) => !known.includes(stage));
  return [...known, ...others];
}
