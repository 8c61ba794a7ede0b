// A small picture from the API. It is requested when it comes into view, with the API key, which an `img` cannot send.

import { useEffect, useRef, useState } from "preact/hooks";
import { Pool } from "../pictures/pool";
import { texts } from "../texts";

/** A browser opens six connections to a server: most of them are for others. */
const loads = new Pool(2);

interface Properties {
  /** What it shows: another value is another picture. */
  of: string;
  load: (signal: AbortSignal) => Promise<Blob>;
  alt: string;
}

export function Thumbnail({ of, load, alt }: Properties) {
  const place = useRef<HTMLSpanElement>(null);
  const [url, setUrl] = useState<string | null>(null);
  const [isUnreadable, setUnreadable] = useState(false);
  useEffect(() => {
    const left = new AbortController();
    let made: string | null = null;
    const show = async () => {
      const picture = await loads.run(() => load(left.signal));
      if (left.signal.aborted) return;
      made = URL.createObjectURL(picture);
      setUrl(made);
    };
    const observer = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      show().catch(() => left.signal.aborted || setUnreadable(true));
    });
    if (place.current) observer.observe(place.current);
    return () => {
      left.abort();
      observer.disconnect();
      if (made) URL.revokeObjectURL(made);
      setUrl(null);
      setUnreadable(false);
    };
  }, [of]);
  return (
    <span ref={place} class="thumbnail">
      {url && !isUnreadable && <img src={url} alt={alt} decoding="async" onError={() => setUnreadable(true)} />}
      {isUnreadable && <span class="thumbnail-note">{texts.thumbnail.none}</span>}
    </span>
  );
}
