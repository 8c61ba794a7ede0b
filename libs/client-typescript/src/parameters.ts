// Parameters as the query has them.

/** Names and values; a name may be there more than once. */
export type Query = [name: string, value: string][];

/** The parameters that are given, by the API's names, sorted by name. Throws a `RangeError` for an empty list. */
export function queryOf(parameters: object): Query {
  const given = Object.entries(parameters).filter(([, value]) => value !== undefined);
  for (const [name, value] of given) checkNotEmpty(name, value);
  const named = given.map(([name, value]): [string, unknown] => [apiName(name), value]);
  return named.sort(([one], [other]) => (one < other ? -1 : 1)).flatMap(([name, value]) => pairsOf(name, value));
}

/** `maxDetections` as `max_detections`. */
function apiName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** A query cannot have an empty list: it would be left out, which means all. */
function checkNotEmpty(name: string, value: unknown): void {
  if (!Array.isArray(value) || value.length > 0) return;
  throw new RangeError(`${name}: the list is empty; give at least one value, or leave ${name} out, which means all`);
}

function pairsOf(name: string, value: unknown): Query {
  if (Array.isArray(value)) return value.map((one) => [name, String(one)]);
  if (value instanceof Date) return [[name, value.toISOString()]];
  return [[name, typeof value === "object" ? JSON.stringify(value) : String(value)]];
}
