// One task, as it goes on: what is known of it, its objects, and its drawing.

import type { ComponentChildren } from "preact";
import { apiKey } from "../../api/key";
import { explainFailure } from "../../api/problem";
import { type FoundObject, type Task, annotatedPicture, followTask } from "../../api/tasks";
import { dayAndClock, milliseconds } from "../../format";
import { download, stem } from "../../results/files";
import { links } from "../../route";
import { texts } from "../../texts";
import { Failed } from "../failed";
import { Table } from "../operations/panel";
import { Thumbnail } from "../thumbnail";
import { useLoaded } from "../use-loaded";
import { StateBadge, nameOf } from "./task-row";

/** The most certain ones; the file has all. */
const MOST_LISTED = 100;

export function TaskView({ id }: { id: string }) {
  const words = texts.task;
  const { value: task, failure } = useLoaded(id, (signal) => followTask(id, signal));
  return (
    <main class="view">
      <div class="view-heading">
        <h2>{words.title}</h2>
        <span class="id">{id}</span>
        <a class="back" href={links.tasks}>
          {words.all}
        </a>
      </div>
      {failure && <Failed {...failure} />}
      {task && <Details task={task} />}
    </main>
  );
}

function Details({ task }: { task: Task }) {
  const { task_id, failure, warnings = [], objects, links: paths } = task;
  const name = nameOf(task);
  const image = paths.image;
  return (
    <>
      <p class="task-title">
        <strong>{name}</strong> <StateBadge state={task.state} />
      </p>
      {failure && <Failed {...explainFailure(failure.reason, failure.message)} />}
      {warnings.map((warning) => (
        <p class="warning" key={warning}>
          {warning}
        </p>
      ))}
      <div class="buttons">
        <button type="button" onClick={() => download(`${stem(task.picture_name) || task_id}.json`, `${JSON.stringify(task, null, 2)}\n`)}>
          {texts.task.download}
        </button>
        {/* A link sends no API key. */}
        {apiKey.value === null && (
          <a class="button" href={paths.self}>
            {texts.task.open}
          </a>
        )}
      </div>
      <div class="task-details">
        <dl class="facts">
          {factsOf(task).map(([name, value]) => (
            <div key={name}>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          ))}
        </dl>
        {image && (
          <div class="task-drawing">
            <Thumbnail of={task_id} load={(signal) => annotatedPicture(image, signal)} alt={texts.tasks.drawing(name)} />
          </div>
        )}
      </div>
      {objects && objects.length > 0 && <Objects objects={objects} />}
    </>
  );
}

function Objects({ objects }: { objects: FoundObject[] }) {
  const { objects: title, columns } = texts.task;
  return (
    <section class="panel" aria-labelledby="objects-heading">
      <h3 id="objects-heading">
        {title} <span class="count">{objects.length}</span>
      </h3>
      <Table label={title} columns={columns}>
        {objects.slice(0, MOST_LISTED).map(({ label, confidence, bbox: { x1, y1, x2, y2 } }, index) => (
          <tr key={index}>
            <th scope="row">{label}</th>
            <td class="number">{confidence.toFixed(3)}</td>
            <td class="number">{[x1, y1, x2, y2].map(Math.round).join(", ")}</td>
          </tr>
        ))}
      </Table>
    </section>
  );
}

/** What is known of a task, with its name. */
function factsOf(task: Task): [string, ComponentChildren][] {
  const { facts } = texts.task;
  const { timings, attempts, cached, tiles, metadata, batch } = task;
  const known: [string, ComponentChildren][] = [
    [facts.model, task.model],
    [facts.priority, task.priority],
    [facts.submitted, dayAndClock(task.submitted_at)],
    [facts.finished, task.finished_at && dayAndClock(task.finished_at)],
    [facts.size, task.width !== undefined && `${task.width} × ${task.height}`],
    [facts.worker, task.worker],
    [facts.attempts, String(attempts)],
    [facts.cached, cached && texts.picture.cached],
    [facts.tiles, tiles],
    [facts.queue, timings && milliseconds(timings.queue_ms)],
    [facts.decode, timings && milliseconds(timings.decode_ms)],
    [facts.infer, timings && milliseconds(timings.infer_ms)],
    [facts.batch, batch && <a href={links.batch(batch.batch_id)}>{batch.batch_id}</a>],
    [facts.metadata, metadata != null && JSON.stringify(metadata)],
  ];
  return known.filter(([, value]) => Boolean(value));
}
