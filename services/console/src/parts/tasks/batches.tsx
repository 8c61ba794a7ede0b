// Batches: those of the tasks that are listed, and any other by its id.

import { readBatch } from "../../api/batches";
import type { Task } from "../../api/tasks";
import { goTo, links } from "../../route";
import { texts } from "../../texts";
import { useLoaded } from "../use-loaded";
import { Progress } from "./batch";

/** Each is a request. */
const MOST_SHOWN = 5;

export function Batches({ tasks }: { tasks: Task[] }) {
  const words = texts.batches;
  const ids = [...new Set(tasks.flatMap(({ batch }) => (batch ? [batch.batch_id] : [])))].slice(0, MOST_SHOWN);
  return (
    <section class="batches" aria-label={words.title}>
      {ids.map((id) => (
        <BatchLine key={id} id={id} />
      ))}
      <form
        class="batch-search"
        onSubmit={(event) => {
          event.preventDefault();
          const id = String(new FormData(event.currentTarget).get("batch")).trim();
          if (id) goTo(links.batch(id));
        }}
      >
        <label class="field">
          <span>{words.byId}</span>
          <input name="batch" required spellcheck={false} autocomplete="off" />
        </label>
        <button type="submit">{words.show}</button>
      </form>
    </section>
  );
}

function BatchLine({ id }: { id: string }) {
  const { value: batch } = useLoaded(id, async function* (signal) {
    yield await readBatch(id, signal);
  });
  return (
    <div class="batch-line">
      <a class="id" href={links.batch(id)}>
        {texts.batches.one} {id}
      </a>
      <Progress batch={batch} />
    </div>
  );
}
