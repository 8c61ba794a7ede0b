// The figures that an operator looks at first.

import { count, duration, rate } from "../../format";
import { history, latest } from "../../operations/live";
import { texts } from "../../texts";

export function Figures() {
  const snapshot = latest.value;
  const queue = snapshot?.queue;
  const rates = history.value.at(-1)?.rates;
  const { figures } = texts.operations;
  const oldest = queue?.waiting === 0 ? texts.operations.noneWaits : duration(queue?.oldest_age_seconds);
  return (
    <dl class="figures">
      <Figure
        name={figures.waiting}
        value={count(queue?.waiting)}
        note={queue?.accepting === false ? figures.full : queue ? figures.room(count(queue.max_waiting)) : ""}
        tone={queue?.accepting === false ? "bad" : "normal"}
      />
      <Figure name={figures.running} value={count(queue?.running)} note={slots()} />
      <Figure name={figures.oldest} value={oldest} />
      <Figure name={figures.accepted} value={rate(rates?.accepted)} note={total(snapshot?.tasks?.accepted)} />
      <Figure name={figures.ended} value={rate(rates?.ended)} note={total(snapshot?.tasks?.succeeded, figures.succeeded)} />
      <Figure
        name={figures.failed}
        value={rate(rates?.failed)}
        note={total(snapshot?.tasks?.failed)}
        tone={(rates?.failed ?? 0) > 0 ? "bad" : "normal"}
      />
      <Figure
        name={figures.deadLetters}
        value={count(snapshot?.dead_letters)}
        tone={(snapshot?.dead_letters ?? 0) > 0 ? "bad" : "normal"}
      />
    </dl>
  );
}

interface FigureProperties {
  name: string;
  value: string;
  note?: string;
  tone?: "normal" | "bad";
}

function Figure({ name, value, note = "", tone = "normal" }: FigureProperties) {
  return (
    <div class="figure" data-tone={tone}>
      <dt>{name}</dt>
      <dd>
        <span class="figure-value">{value}</span>
        <span class="figure-note">{note}</span>
      </dd>
    </div>
  );
}

function slots(): string {
  const workers = latest.value?.workers;
  if (!workers) return "";
  const all = workers.reduce((sum, worker) => sum + worker.slots, 0);
  return texts.operations.figures.slots(all);
}

function total(number: number | null | undefined, of = texts.operations.figures.total): string {
  return number == null ? "" : `${count(number)} ${of}`;
}
