// Asks before something is done that cannot be undone.

import { signal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";
import { type Explanation, explain } from "../api/problem";
import { texts } from "../texts";
import { Failed } from "./failed";
import { useModal } from "./use-modal";

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
  const asked = question.value;
  const modal = useModal(asked !== null, close);
  // After that of the modal dialog, which is closed by then.
  useLayoutEffect(() => {
    if (!asked) done?.onDone();
    done = null;
  }, [asked]);
  return (
    <dialog {...modal} class="dialog" aria-labelledby="confirm-heading" aria-describedby="confirm-text">
      <h2 id="confirm-heading">{asked?.heading}</h2>
      <p id="confirm-text">{asked?.text}</p>
      {failure.value && <Failed {...failure.value} />}
      <div class="buttons">
        <button type="button" class="primary" disabled={isActing.value} onClick={() => asked && void act(asked)}>
          {asked?.action}
        </button>
        <button type="button" autofocus onClick={close}>
          {texts.confirm.cancel}
        </button>
      </div>
    </dialog>
  );
}

function close(): void {
  question.value = null;
}

async function act(asked: Question): Promise<void> {
  isActing.value = true;
  try {
    await asked.act();
    if (question.value === asked) {
      done = asked;
      close();
    } else {
      // A person has closed the dialog meanwhile.
      asked.onDone();
    }
  } catch (error) {
    if (question.value === asked) failure.value = explain(error);
  } finally {
    isActing.value = false;
  }
}
