// What is counted: refusals, cache, webhooks, objects by class.

import type { ClassTotal } from "../../api/operations";
import { UNKNOWN, count, percent } from "../../format";
import { latest } from "../../operations/live";
import { texts } from "../../texts";
import { Panel, Table } from "./panel";

export function Refusals() {
  const refusals = latest.value?.refusals.filter(({ count }) => count > 0);
  const { title, columns, none } = texts.operations.refusals;
  const names: Record<string, string> = texts.operations.refusals.reasons;
  return (
    <Panel title={title} items={refusals} none={none}>
      <Table label={title} columns={columns}>
        {refusals?.map(({ reason, count: number }) => (
          <tr key={reason}>
            <th scope="row">{names[reason] ?? reason}</th>
            <td class="number">{count(number)}</td>
          </tr>
        ))}
      </Table>
    </Panel>
  );
}

export function Cache() {
  const cache = latest.value?.cache;
  const { title, columns, result, response, notConfigured } = texts.operations.cache;
  const rows = cache
    ? [
        { name: result, hits: cache.result_hits, misses: cache.result_misses },
        { name: response, hits: cache.response_hits, misses: cache.response_misses },
      ]
    : undefined;
  return (
    <Panel title={title} items={rows} none={notConfigured} unknown={notConfigured}>
      <Table label={title} columns={columns}>
        {rows?.map(({ name, hits, misses }) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td class="number">{count(hits)}</td>
            <td class="number">{count(misses)}</td>
            <td class="number">{hits + misses > 0 ? percent(hits / (hits + misses)) : UNKNOWN}</td>
          </tr>
        ))}
      </Table>
    </Panel>
  );
}

export function Classes() {
  const classes = latest.value?.classes;
  const { title, columns, none } = texts.operations.classes;
  return (
    <Panel title={title} items={classes} none={none}>
      <Table label={title} columns={columns}>
        {classes?.map((one) => (
          <tr key={one.label}>
            <th scope="row">{one.label}</th>
            <td class="number">{count(one.count)}</td>
            <td>
              <Histogram of={one} />
            </td>
          </tr>
        ))}
      </Table>
    </Panel>
  );
}

const BAR_WIDTH = 9;
const HEIGHT = 20;

/** How many of the objects had which confidence, in steps of a tenth. */
function Histogram({ of: { label, confidence } }: { of: ClassTotal }) {
  const most = Math.max(1, ...confidence);
  const all = confidence.reduce((sum, number) => sum + number, 0);
  const peak = confidence.indexOf(Math.max(...confidence));
  return (
    <svg
      class="histogram"
      viewBox={`0 0 ${10 * (BAR_WIDTH + 1)} ${HEIGHT}`}
      preserveAspectRatio="none"
      role="img"
      aria-label={texts.operations.classes.histogram(label, percent(peak / 10), percent((peak + 1) / 10), all)}
    >
      {confidence.map((number, step) => {
        // Where there are any, they are seen.
        const height = number === 0 ? 1 : Math.max(2, (number / most) * HEIGHT);
        const isEmpty = number === 0;
        return (
          <rect
            key={step}
            class={isEmpty ? "is-empty" : ""}
            x={step * (BAR_WIDTH + 1)}
            y={HEIGHT - height}
            width={BAR_WIDTH}
            height={height}
          />
        );
      })}
    </svg>
  );
}
