// Numbers and times, as the page shows them.

const WHOLE = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const ONE_DIGIT = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY_AND_CLOCK = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});

/** In place of a number that is not known. */
export const UNKNOWN = "–";

type Known = number | null | undefined;

export function count(number: Known): string {
  return number == null ? UNKNOWN : WHOLE.format(number);
}

/** One digit behind the point, where it matters. */
export function rate(perSecond: Known): string {
  if (perSecond == null) return UNKNOWN;
  return perSecond < 100 ? ONE_DIGIT.format(perSecond) : WHOLE.format(perSecond);
}

export function milliseconds(number: Known): string {
  if (number == null) return UNKNOWN;
  if (number >= 1000) return duration(number / 1000);
  return `${number < 10 ? ONE_DIGIT.format(number) : WHOLE.format(number)} ms`;
}

/** Two units at most: `3.2 s`, `4 min 05 s`, `2 h 10 min`, `3 d 4 h`. */
export function duration(seconds: Known): string {
  if (seconds == null) return UNKNOWN;
  const whole = Math.max(0, Math.round(seconds));
  const two = (number: number) => String(number).padStart(2, "0");
  if (seconds < 59.95) return `${ONE_DIGIT.format(Math.max(0, seconds))} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${two(Math.floor((whole % 3600) / 60))} min`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** Seconds between two times of the API. */
export function secondsBetween(earlier: string, later: string): number {
  return (Date.parse(later) - Date.parse(earlier)) / 1000;
}

export function bytes(number: number): string {
  if (number < 1024) return `${number} B`;
  if (number < 1024 ** 2) return `${ONE_DIGIT.format(number / 1024)} KiB`;
  return `${ONE_DIGIT.format(number / 1024 ** 2)} MiB`;
}

/** The time of day. */
export function clock(time: string | number): string {
  return CLOCK.format(new Date(time));
}

export function dayAndClock(time: string): string {
  return DAY_AND_CLOCK.format(new Date(time));
}

export function percent(part: number): string {
  return `${Math.round(part * 100)} %`;
}
