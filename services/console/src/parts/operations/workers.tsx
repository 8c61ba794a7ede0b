// The workers and the APIs that are alive.

import { type Api, type Worker, processKey } from "../../api/operations";
import { count, duration, secondsBetween } from "../../format";
import { latest } from "../../operations/live";
import { links } from "../../route";
import { texts } from "../../texts";
import { Panel, Table } from "./panel";

/**
 * A worker's row has a line for each slot, up to so many, so that it keeps its height; and one more, since a worker also
 * holds tasks whose pictures it decodes or whose results it stores.
 */
const MOST_SLOT_LINES = 4;

export function Workers() {
  const workers = latest.value?.workers;
  const { columns, none } = texts.operations.workers;
  return (
    <Panel title={texts.operations.workers.title} items={workers} none={none}>
      <Table label={texts.operations.workers.title} columns={columns}>
        {workers?.map((worker) => <WorkerRow key={processKey(worker)} worker={worker} />)}
      </Table>
    </Panel>
  );
}

function WorkerRow({ worker }: { worker: Worker }) {
  const { name, version, started_at, slots, busy, pictures, models } = worker;
  const { inMemory, notInMemory, slotsBusy } = texts.operations.workers;
  return (
    <tr>
      <th scope="row">
        {name}
        <span class="quiet">{texts.operations.since(version, duration(age(started_at)))}</span>
      </th>
      <td>
        {models.map((model) => (
          <span key={model.name} class="line">
            {model.name} <span class="quiet">{model.in_memory ? inMemory : notInMemory}</span>
          </span>
        ))}
      </td>
      <td class="number">
        {slotsBusy(busy, slots)}
        <meter class="slots" aria-label={texts.operations.workers.busy} min={0} max={Math.max(slots, 1)} value={busy} />
      </td>
      <td class="number">{count(pictures)}</td>
      <td class="runs">
        <Running worker={worker} />
      </td>
    </tr>
  );
}

function Running({ worker: { slots, running } }: { worker: Worker }) {
  const slotLines = Math.max(1, Math.min(slots, MOST_SLOT_LINES));
  const lines = slotLines + 1;
  const listed = running.slice(0, running.length > lines ? lines - 1 : lines);
  const rest = running.length - listed.length;
  const free = Array.from({ length: lines - listed.length - (rest > 0 ? 1 : 0) });
  return (
    <>
      {listed.map(({ task_id, model, since }) => (
        <span key={task_id} class="line">
          <a class="id" href={links.task(task_id)}>
            {task_id}
          </a>{" "}
          <span class="quiet">{model}</span> <span class="number">{duration(age(since))}</span>
        </span>
      ))}
      {rest > 0 && <span class="line quiet">{texts.operations.workers.more(rest)}</span>}
      {free.map((_, line) => (
        <span key={line} class="line quiet">
          {listed.length + line < slotLines && texts.operations.workers.idle}
        </span>
      ))}
    </>
  );
}

/** Seconds, by the API's clock. */
function age(time: string): number {
  return Math.max(0, secondsBetween(time, latest.value?.at ?? time));
}

export function Apis() {
  const apis = latest.value?.apis;
  const { title, columns, none } = texts.operations.apis;
  return (
    <Panel title={title} items={apis} none={none}>
      <Table label={title} columns={columns}>
        {apis?.map((api) => <ApiRow key={processKey(api)} api={api} />)}
      </Table>
    </Panel>
  );
}

function ApiRow({ api: { name, version, started_at, uploads_in_progress, event_streams } }: { api: Api }) {
  return (
    <tr>
      <th scope="row">
        {name}
        <span class="quiet">{texts.operations.since(version, duration(age(started_at)))}</span>
      </th>
      <td class="number">{count(uploads_in_progress)}</td>
      <td class="number">{count(event_streams)}</td>
    </tr>
  );
}
