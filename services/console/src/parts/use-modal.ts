// A modal dialog that is open while the page has something to ask.

import type { RefObject } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

export interface Modal {
  ref: RefObject<HTMLDialogElement | null>;
  onClose: () => void;
}

/** What the dialog's element is given. `close` is called where the browser has closed it, as it does for Escape. */
export function useModal(isOpen: boolean, close: () => void): Modal {
  const ref = useRef<HTMLDialogElement>(null);
  // With the content that is rendered: a frame later, a person could write into a dialog that is about to close.
  useLayoutEffect(() => {
    // A modal dialog keeps the focus, and gives it back to the button that opened it.
    if (isOpen) ref.current?.showModal();
    else ref.current?.close();
  }, [isOpen]);
  // The event comes later: by then the dialog may be open with another question.
  const onClose = () => {
    if (!ref.current?.open) close();
  };
  return { ref, onClose };
}
