// Asks before something is done that cannot be undone.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { type Explanation, explain } from "../api/problem";
import { texts } from "../texts";
import { Failed } from "./failed";

export interface Question {
  heading: string;
  text: string;
  /** The name of the button that does it. */
  action: string;
  act: () => Promise<void>;
  /** Called once it is done and the dialog is closed, which until then keeps the focus. */
  onDone: () => void;
}

const question = signal<Question | null>(null);
const failure = signal<Explanation | null>(null);
const isActing = signal(false);
let done: Question | null = null;

/** Asks, and acts where the answer is yes. What goes wrong is shown there, and can be tried again. */
export function askFirst(asked: Question): void {
  failure.value = null;
  question.value = asked;
}

export function ConfirmDialog() {
  const dialog = useRef<HTMLDialogElement>(null);
  const asked = question.value;
  useEffect(() => {
    // A modal dialog keeps the focus, and gives it back to the button that opened it.
    if (asked) dialog.current?.showModal();
    else dialog.current?.close();
    if (!asked) done?.onDone();
    done = null;
  }, [asked]);
  return (
    <dialog
      ref={dialog}
      class="dialog"
      aria-labelledby="confirm-heading"
      aria-describedby="confirm-text"
      onClose={() => (question.value = null)}
    >
      <h2 id="confirm-heading">{asked?.heading}</h2>
      <p id="confirm-text">{asked?.text}</p>
      {failure.value && <Failed {...failure.value} />}
      <div class="buttons">
        <button type="button" class="primary" disabled={isActing.value} onClick={() => asked && void act(asked)}>
          {asked?.action}
        </button>
        <button type="button" autofocus onClick={() => (question.value = null)}>
          {texts.confirm.cancel}
        </button>
      </div>
    </dialog>
  );
}

async function act(asked: Question): Promise<void> {
  isActing.value = true;
  try {
    await asked.act();
    done = asked;
    question.value = null;
  } catch (error) {
    failure.value = explain(error);
  } finally {
    isActing.value = false;
  }
}
