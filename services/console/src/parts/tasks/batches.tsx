// The newest batches, and any other by its id.

import { useState } from "preact/hooks";
import { type Batch, listBatches } from "../../api/batches";
import { goTo, links } from "../../route";
import { texts } from "../../texts";
import { Failed } from "../failed";
import { useLoaded } from "../use-loaded";
import { Progress } from "./batch";

/** How many are listed at first, and after each wish for more. */
const SHOWN = [5, 25, 100];

/** They are read anew whenever `round` changes. */
export function Batches({ round }: { round: number }) {
  const words = texts.batches;
  const [step, setStep] = useState(0);
  const limit = SHOWN[step] ?? 100;
  const { value, failure } = useLoaded(`${limit} ${round}`, async function* (signal) {
    yield await listBatches(limit, signal);
  });
  const batches = value?.batches ?? [];
  return (
    <section class="batches" aria-label={words.title}>
      {failure && <Failed {...failure} />}
      {batches.map((batch) => (
        <BatchLine key={batch.batch_id} batch={batch} />
      ))}
      {value?.next && step < SHOWN.length - 1 && (
        <button type="button" class="batches-more" onClick={() => setStep(step + 1)}>
          {words.older}
        </button>
      )}
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

function BatchLine({ batch }: { batch: Batch }) {
  const { batch_id: id } = batch;
  return (
    <div class="batch-line">
      <a class="id" href={links.batch(id)}>
        {texts.batches.one} {id}
      </a>
      <Progress batch={batch} />
    </div>
  );
}
