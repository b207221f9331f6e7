// The causal history of a key as a graph: every version that some replica holds, on the lane of the
// actor that made it (a store's instance and a birth), the newest to the right. Versions that replaced
// others took their place, so what is drawn side by side was written without knowledge of each other.

import { html } from "/console/vendor/htm-preact.js";

/** A letter for each version, by its dot. */
export function letters(versions) {
  const dots = [...new Set(versions.map((each) => each.dot))].sort();
  return new Map(dots.map((dot, at) => [dot, at < 26 ? String.fromCharCode(65 + at) : `V${at + 1}`]));
}

const LANE = 46;
const LEFT = 96;
const WIDTH = 640;

export function History({ explained, named }) {
  const versions = new Map();
  for (const replica of explained.replicas) {
    for (const version of replica.versions) {
      const known = versions.get(version.dot) ?? { ...version, holders: [] };
      known.holders.push(replica.node);
      versions.set(version.dot, known);
    }
  }
  if (!versions.size) return null;
  const all = [...versions.values()].sort((a, b) => (a.time < b.time ? -1 : 1));
  const actorOf = (dot) => dot.slice(0, dot.lastIndexOf(":"));
  const lanes = [...new Set(all.map((each) => actorOf(each.dot)))].sort();
  const step = Math.min(140, (WIDTH - LEFT - 60) / Math.max(all.length, 1));
  const height = lanes.length * LANE + 16;
  const x = (at) => LEFT + step * (at + 0.6);
  const y = (dot) => 8 + LANE * (lanes.indexOf(actorOf(dot)) + 0.5);
  const middle = height / 2;
  return html`<h3>Versions</h3>
    <div class="scroll">
      <svg id="history" viewBox="0 0 ${WIDTH} ${height}" width=${WIDTH} height=${height} role="img"
        aria-label="${all.length} versions of ${lanes.length} actors">
        <circle cx="40" cy=${middle} r="14" fill="none" stroke="var(--quiet)" stroke-dasharray="3 3" />
        <text x="40" y=${middle + 30} text-anchor="middle" font-size="11" fill="var(--quiet)">replaced</text>
        ${all.map(
          (each, at) => html`
            <path d="M54 ${middle}C${LEFT} ${middle} ${LEFT - 20} ${y(each.dot)} ${x(at) - 14} ${y(each.dot)}"
              fill="none" stroke="var(--line)" stroke-width="2" />
            <circle cx=${x(at)} cy=${y(each.dot)} r="14"
              fill=${each.deleted ? "var(--panel)" : "var(--accent)"} stroke="var(--accent)" stroke-width="2"
              stroke-dasharray=${each.deleted ? "4 3" : undefined} />
            <text x=${x(at)} y=${y(each.dot) + 5} text-anchor="middle" font-size="13"
              fill=${each.deleted ? "var(--ink)" : "var(--accent-ink)"}>${named.get(each.dot)}</text>
          `,
        )}
      </svg>
    </div>
    <div class="scroll">
      <table>
        <thead><tr><th></th><th>Dot</th><th>Written</th><th>Bytes</th><th>On</th></tr></thead>
        <tbody>
          ${all.map(
            (each) => html`<tr>
              <td><b>${named.get(each.dot)}</b></td>
              <td><code>${each.dot}</code></td>
              <td>${each.time}</td>
              <td>${each.deleted ? "deleted" : each.bytes}</td>
              <td>${each.holders.join(", ")}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
}
