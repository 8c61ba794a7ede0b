// Jobs and webhooks that were given up, and what can be done with them.

import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError } from "spotter-detection";
import { apiKey } from "../../api/key";
import {
  type DeadLetter,
  type DeadWebhook,
  PAGE,
  deadLetterPicture,
  dropDeadLetter,
  replayWebhook,
  requeueDeadLetter,
} from "../../api/dead-letters";
import type { Operations } from "../../api/operations";
import { bytes, count, dayAndClock } from "../../format";
import { showNotice } from "../../notice";
import {
  deadLetters,
  deadWebhooks,
  hasMoreLetters,
  lettersFailure,
  readDeadLetters,
  readDeadWebhooks,
  removeDeadLetter,
  removeDeadWebhook,
  webhooksFailure,
} from "../../operations/dead-letters";
import { latest } from "../../operations/live";
import { links } from "../../route";
import { texts } from "../../texts";
import { askFirst } from "../confirm-dialog";
import { Failed } from "../failed";
import { Thumbnail } from "../thumbnail";

export function DeadLetters() {
  const { title, none, reading, more } = texts.deadLetters;
  const heading = useRef<HTMLHeadingElement>(null);
  const list = deadLetters.value;
  const [wanted, setWanted] = useState(PAGE);
  // The list is read when the view is shown, when more of it is wanted, and when the stream says that their number has
  // changed: then as far as it is shown.
  const known = latest.value?.dead_letters;
  useEffect(() => {
    const left = new AbortController();
    void readDeadLetters(wanted, left.signal);
    return () => left.abort();
  }, [known, apiKey.value, wanted]);
  return (
    <section class="panel" aria-labelledby="dead-letters-heading">
      <h3 id="dead-letters-heading" ref={heading} tabIndex={-1}>
        {title}
      </h3>
      {lettersFailure.value && <Failed {...lettersFailure.value} />}
      {!list?.length && <p class="quiet">{list ? none : reading}</p>}
      <ul class="letters">
        {list?.map((letter) => (
          <Letter key={letter.id} letter={letter} onGone={() => heading.current?.focus()} />
        ))}
      </ul>
      {hasMoreLetters.value && (
        <button type="button" onClick={() => setWanted(wanted + PAGE)}>
          {more}
        </button>
      )}
    </section>
  );
}

function Letter({ letter, onGone }: { letter: DeadLetter; onGone: () => void }) {
  const { id, task_id, model, picture_name, reason, detail, deliveries, died_at, kept_until, picture } = letter;
  const words = texts.deadLetters;
  const reasons: Record<string, string> = words.reasons;
  const name = picture_name || (task_id ?? words.noJob(id));
  const ask = (question: typeof words.requeue, act: (id: string) => Promise<void>) =>
    askFirst({
      ...question,
      text: question.text(name),
      act: async () => {
        await unlessGone(act(id), () => removeDeadLetter(id));
        removeDeadLetter(id);
        showNotice(question.done);
      },
      onDone: onGone,
    });
  return (
    <li class="letter">
      {picture ? (
        <Thumbnail of={id} load={(signal) => deadLetterPicture(id, signal)} alt={name} />
      ) : (
        <span class="thumbnail">
          <span class="thumbnail-note">{words.noPicture}</span>
        </span>
      )}
      <div class="letter-text">
        <p class="letter-reason">{name}</p>
        <p>{[reasons[reason] ?? reason, detail].filter(Boolean).join(": ")}</p>
        <p class="quiet">
          {[model, words.deliveries(deliveries), picture && bytes(picture.bytes)].filter(Boolean).join(" · ")}
          {task_id && " · "}
          {task_id && (
            <a class="id" href={links.task(task_id)}>
              {task_id}
            </a>
          )}
        </p>
        <p class="quiet">{words.times(dayAndClock(died_at), dayAndClock(kept_until))}</p>
      </div>
      <div class="buttons">
        {task_id && (
          <button type="button" aria-label={words.requeueOf(name)} onClick={() => ask(words.requeue, requeueDeadLetter)}>
            {words.requeue.action}
          </button>
        )}
        <button type="button" aria-label={words.dropOf(name)} onClick={() => ask(words.drop, dropDeadLetter)}>
          {words.drop.action}
        </button>
      </div>
    </li>
  );
}

export function Webhooks() {
  const words = texts.webhooks;
  const heading = useRef<HTMLHeadingElement>(null);
  const dead = latest.value?.webhooks?.dead_letters;
  useEffect(() => {
    if (dead === undefined) return undefined;
    const left = new AbortController();
    void readDeadWebhooks(left.signal);
    return () => left.abort();
  }, [dead, apiKey.value]);
  return (
    <section class="panel" aria-labelledby="webhooks-heading">
      <h3 id="webhooks-heading" ref={heading} tabIndex={-1}>
        {words.title}
      </h3>
      <p class="quiet">{described(latest.value)}</p>
      {webhooksFailure.value && <Failed {...webhooksFailure.value} />}
      <ul class="letters">
        {deadWebhooks.value?.map((webhook) => (
          <Webhook key={webhook.task_id} webhook={webhook} onGone={() => heading.current?.focus()} />
        ))}
      </ul>
    </section>
  );
}

/** How many webhooks there are. Where the API knows nothing of the queue, it knows nothing of webhooks either. */
function described(snapshot: Operations | null): string {
  const { counts, notConfigured } = texts.webhooks;
  if (snapshot?.webhooks) return counts(count(snapshot.webhooks.waiting), count(snapshot.webhooks.dead_letters));
  return snapshot?.queue.waiting == null ? texts.operations.unknown : notConfigured;
}

function Webhook({ webhook, onGone }: { webhook: DeadWebhook; onGone: () => void }) {
  const { task_id, given_up_at, attempts, reason, state } = webhook;
  const words = texts.webhooks;
  const ask = () =>
    askFirst({
      ...words.replay,
      text: words.replay.text(task_id),
      act: async () => {
        await unlessGone(replayWebhook(task_id), () => removeDeadWebhook(task_id));
        removeDeadWebhook(task_id);
        showNotice(words.replay.done);
      },
      onDone: onGone,
    });
  return (
    <li class="letter">
      <div class="letter-text">
        <p class="letter-reason">{reason}</p>
        <p class="quiet">
          <a class="id" href={links.task(task_id)}>
            {task_id}
          </a>
          {" · "}
          {[state, words.attempts(attempts), dayAndClock(given_up_at)].join(" · ")}
        </p>
      </div>
      <div class="buttons">
        <button type="button" aria-label={words.replayOf(task_id)} onClick={ask}>
          {words.replay.action}
        </button>
      </div>
    </li>
  );
}

/** What somebody else has dealt with meanwhile is no longer listed, and its person is told. */
async function unlessGone(acting: Promise<void>, remove: () => void): Promise<void> {
  try {
    await acting;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) remove();
    throw error;
  }
}
