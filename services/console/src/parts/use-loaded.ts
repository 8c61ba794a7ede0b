// What a part of the page reads from the API when it is shown.

import { useEffect, useState } from "preact/hooks";
import { apiKey } from "../api/key";
import { type Explanation, explain } from "../api/problem";

export interface Loaded<T> {
  /**
   * The value that was read last, also while another one is on its way, so that the page does not jump. It is that of this
   * API key: another key may not see it.
   */
  value: T | null;
  failure: Explanation | null;
  isLoading: boolean;
  reload: () => void;
}

/** Reads anew whenever `of` changes, or the API key. `load` gives a value, or several that replace each other. */
export function useLoaded<T>(of: string, load: (signal: AbortSignal) => AsyncGenerator<T>): Loaded<T> {
  const key = apiKey.value;
  const [last, setLast] = useState<{ value: T; key: string | null } | null>(null);
  const [failure, setFailure] = useState<Explanation | null>(null);
  const [isLoading, setLoading] = useState(true);
  const [round, setRound] = useState(0);
  useEffect(() => {
    const left = new AbortController();
    const read = async () => {
      setLoading(true);
      setFailure(null);
      try {
        for await (const value of load(left.signal)) if (!left.signal.aborted) setLast({ value, key });
      } catch (error) {
        if (!left.signal.aborted) setFailure(explain(error));
      }
      if (!left.signal.aborted) setLoading(false);
    };
    void read();
    return () => left.abort();
  }, [of, key, round]);
  const value = last?.key === key ? last.value : null;
  return { value, failure, isLoading, reload: () => setRound((before) => before + 1) };
}
