// One batch, as it goes on.

import { type Batch, followBatch, readBatch } from "../../api/batches";
import { count, dayAndClock } from "../../format";
import { links } from "../../route";
import { texts } from "../../texts";
import { Failed } from "../failed";
import { useLoaded } from "../use-loaded";

export function BatchView({ id }: { id: string }) {
  const words = texts.batch;
  const { value: batch, failure } = useLoaded(id, async function* (signal) {
    for await (const batch of followBatch(id, signal)) yield batch;
    // Events leave out which pictures were refused.
    yield await readBatch(id, signal);
  });
  return (
    <main class="view">
      <div class="view-heading">
        <h2>{words.title}</h2>
        <span class="id">{id}</span>
        <a class="back" href={links.tasks}>
          {texts.task.all}
        </a>
      </div>
      {failure && <Failed {...failure} />}
      <Progress batch={batch} />
      {batch && <Details batch={batch} />}
    </main>
  );
}

/** How many of its pictures have ended, as a bar and in words. */
export function Progress({ batch }: { batch: Batch | null }) {
  const words = texts.batch;
  const received = batch?.received ?? 0;
  const ended = received - (batch?.counts.pending ?? 0);
  return (
    <div class="batch-progress">
      <progress aria-label={words.progressLabel} max={Math.max(received, 1)} value={ended} />
      <span class="number" role="status">
        {batch ? words.progress(count(ended), count(received), words.states[batch.state]) : texts.tasks.loading}
      </span>
    </div>
  );
}

function Details({ batch: { counts, created_at, finished_at, interruption, refused = [] } }: { batch: Batch }) {
  const words = texts.batch;
  return (
    <>
      {interruption && <Failed what={interruption} advice={words.continueIt} />}
      <dl class="figures">
        {(Object.keys(words.counts) as (keyof typeof counts)[]).map((name) => (
          <div key={name} class="figure">
            <dt>{words.counts[name]}</dt>
            <dd>
              <span class="figure-value">{count(counts[name])}</span>
            </dd>
          </div>
        ))}
      </dl>
      <p class="quiet">{words.times(dayAndClock(created_at), finished_at ? dayAndClock(finished_at) : null)}</p>
      {refused.length > 0 && (
        <section class="panel" aria-labelledby="refused-heading">
          <h3 id="refused-heading">{words.refused}</h3>
          <ul>
            {refused.map(({ index, name, detail }) => (
              <li key={index}>
                <strong>{name}</strong> {detail}
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  );
}
