// What a part of the page reads from the API when it is shown.

import { useEffect, useState } from "preact/hooks";
import { apiKey } from "../api/key";
import { type Explanation, explain } from "../api/problem";

export interface Loaded<T> {
  /** The value that was read last, also while another one is on its way, so that the page does not jump. */
  value: T | null;
  failure: Explanation | null;
  isLoading: boolean;
  reload: () => void;
}

/** Reads anew whenever `of` changes, or the API key. `load` gives a value, or several that replace each other. */
export function useLoaded<T>(of: string, load: (signal: AbortSignal) => AsyncGenerator<T>): Loaded<T> {
  const [value, setValue] = useState<T | null>(null);
  const [failure, setFailure] = useState<Explanation | null>(null);
  const [isLoading, setLoading] = useState(true);
  const [round, setRound] = useState(0);
  useEffect(() => {
    const left = new AbortController();
    const read = async () => {
      setLoading(true);
      setFailure(null);
      try {
        for await (const one of load(left.signal)) if (!left.signal.aborted) setValue(one);
      } catch (error) {
        if (!left.signal.aborted) setFailure(explain(error));
      }
      if (!left.signal.aborted) setLoading(false);
    };
    void read();
    return () => left.abort();
  }, [of, apiKey.value, round]);
  return { value, failure, isLoading, reload: () => setRound((before) => before + 1) };
}
