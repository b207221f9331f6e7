// Prometheus text, read for charts: sums of a family, and quantiles of a histogram between two
// scrapes.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** The samples of an exposition: a list of [labels, value] by name. */
export function parse(text) {
  const families = new Map();
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : SAMPLE.exec(line);
    if (!found) continue;
    const labels = Object.fromEntries([...(found[2] ?? "").matchAll(LABEL)].map((m) => [m[1], m[2]]));
    if (!families.has(found[1])) families.set(found[1], []);
    families.get(found[1]).push([labels, Number(found[3])]);
  }
  return families;
}

/** The sum of a family's samples whose labels are as in `wanted`. */
export function total(families, name, wanted = {}) {
  let sum = 0;
  for (const [labels, value] of families.get(name) ?? []) {
    if (Object.entries(wanted).every(([key, is]) => labels[key] === is)) sum += value;
  }
  return sum;
}

/**
 * A quantile, in the histogram's unit, of what was observed between two scrapes; null if nothing
 * was. Within a bucket values are taken as evenly spread, as Prometheus does.
 */
export function quantile(before, now, name, wanted, part) {
  const counts = new Map();
  for (const [families, sign] of [[now, 1], [before, -1]]) {
    for (const [labels, value] of families.get(`${name}_bucket`) ?? []) {
      if (!Object.entries(wanted).every(([key, is]) => labels[key] === is)) continue;
      const bound = labels.le === "+Inf" ? Infinity : Number(labels.le);
      counts.set(bound, (counts.get(bound) ?? 0) + sign * value);
    }
  }
  const bounds = [...counts.keys()].sort((a, b) => a - b);
  const all = counts.get(Infinity) ?? 0;
  if (!all) return null;
  const rank = part * all;
  let lower = 0;
  let below = 0;
  for (const bound of bounds) {
    const upTo = counts.get(bound);
    if (upTo >= rank) {
      if (bound === Infinity) return lower;
      return lower + ((bound - lower) * (rank - below)) / Math.max(upTo - below, 1e-9);
    }
    lower = bound;
    below = upTo;
  }
  return lower;
}
