// A bound on how many things happen at a time.

/** Runs at most `most` tasks at a time, in the order in which they were added. */
export class Pool {
  private running = 0;
  private readonly waiting: (() => void)[] = [];

  constructor(private readonly most: number) {}

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.running >= this.most) await new Promise<void>((resolve) => this.waiting.push(resolve));
    else this.running++;
    try {
      return await task();
    } finally {
      // The place goes to the next one that waits.
      const next = this.waiting.shift();
      if (next) next();
      else this.running--;
    }
  }
}
