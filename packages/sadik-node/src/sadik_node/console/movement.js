// How far a change of the ring is, from one answer of /v1/transfers after another. A transfer that
// is done is listed no more: what was last seen of it stays counted, as done.

import { bytes } from "/console/api.js";

/** The rate is that of so long. */
const WINDOW_MS = 15000;

/** What is counted before anything was seen. */
export function fresh() {
  return { seen: new Map(), looks: [] };
}

/** Count what is listed now. Answers {done, total, rate, left, text}: bytes, bytes a second, seconds. */
export function look(counted, now, transfers) {
  if (transfers.length === 0) {
    counted.seen.clear();
    counted.looks.length = 0;
  }
  let lacking = 0;
  for (const each of transfers) {
    counted.seen.set(`${each.partition} ${each.to}`, each.bytes_total);
    lacking += each.bytes_total - each.bytes_done;
  }
  const total = [...counted.seen.values()].reduce((sum, each) => sum + each, 0);
  const done = total - lacking;
  const last = counted.looks.at(-1);
  if (!last || now > last.now) counted.looks.push({ now, done });
  while (counted.looks.length > 2 && now - counted.looks[0].now > WINDOW_MS) counted.looks.shift();
  const [first] = counted.looks;
  const seconds = (now - first.now) / 1000;
  const rate = seconds > 0 ? Math.max(done - first.done, 0) / seconds : 0;
  const left = rate > 0 ? (total - done) / rate : undefined;
  const count = counted.seen.size;
  const parts = [`${count - transfers.length} of ${count} replicas moved`];
  if (total > 0) parts.push(`${bytes(done)} of ${bytes(total)} (${Math.floor((100 * done) / total)}%)`);
  if (rate > 0) parts.push(`${bytes(Math.round(rate))}/s`);
  if (left) parts.push(`about ${duration(left)} left`);
  return { done, total, rate, left, text: parts.join(", ") };
}

function duration(seconds) {
  if (seconds < 60) return `${Math.max(Math.round(seconds), 1)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
