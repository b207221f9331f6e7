// The causal history of a key as a graph, from left to right: what was replaced and is gone, what was
// replaced and is still held by who is behind, and what counts. Versions that count stand below each
// other, for each was written without knowledge of the others; whoever resolves them joins them again.

import { html } from "/console/vendor/htm-preact.js";

/** A letter for each version, by its dot. */
export function letters(versions) {
  const dots = [...new Set(versions.map((each) => each.dot))].sort();
  return new Map(dots.map((dot, at) => [dot, at < 26 ? String.fromCharCode(65 + at) : `V${at + 1}`]));
}

const ROW = 46;
const COLUMNS = [48, 168, 288];
const WIDTH = 340;
const RADIUS = 14;

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
  const outdated = all.filter((each) => each.replaced);
  const live = all.filter((each) => !each.replaced);
  const gone = Math.max(0, (explained.writes ?? all.length) - all.length);
  const height = ROW * Math.max(outdated.length, live.length, 1) + 24;
  const y = (list, at) => (height - 8) / 2 + ROW * (at - (list.length - 1) / 2);
  const from = { x: COLUMNS[0], y: (height - 8) / 2 };
  const placed = (list, column) => list.map((each, at) => ({ each, x: COLUMNS[column], y: y(list, at) }));
  const middle = placed(outdated, 1);
  const right = placed(live, 2);
  const edges = [
    ...middle.map((to) => [from, to]),
    ...right.flatMap((to) => (middle.length ? middle : [from]).map((before) => [before, to])),
  ];
  const words = `${live.length} version${live.length === 1 ? "" : "s"} that count`;
  return html`<h3>Versions</h3>
    <div class="scroll">
      <svg id="history" viewBox="0 0 ${WIDTH} ${height}" width=${WIDTH} height=${height} role="img"
        aria-label="${words}; ${outdated.length} replaced and still held; ${gone} replaced and gone">
        ${edges.map(
          ([a, b]) => html`<path fill="none" stroke="var(--quiet)" stroke-width="1.5"
            d="M${a.x + RADIUS} ${a.y}C${a.x + 60} ${a.y} ${b.x - 60} ${b.y} ${b.x - RADIUS} ${b.y}" />`,
        )}
        <circle cx=${from.x} cy=${from.y} r=${RADIUS} fill="none" stroke="var(--quiet)" stroke-dasharray="3 3" />
        <text x=${from.x} y=${from.y + 30} text-anchor="middle" font-size="11" fill="var(--quiet)">
          ${gone ? `${gone} replaced` : "nothing before"}
        </text>
        ${[...middle, ...right].map(({ each, x, y }) => {
          const filled = !each.deleted && !each.replaced;
          return html`<circle cx=${x} cy=${y} r=${RADIUS}
              fill=${filled ? "var(--accent)" : "var(--panel)"}
              stroke=${each.replaced ? "var(--quiet)" : "var(--accent)"} stroke-width="2"
              stroke-dasharray=${each.deleted ? "4 3" : undefined} />
            <text x=${x} y=${y + 5} text-anchor="middle" font-size="13"
              fill=${filled ? "var(--accent-ink)" : "var(--ink)"}>${named.get(each.dot)}</text>`;
        })}
      </svg>
    </div>
    ${live.length > 1 &&
    html`<p class="quiet">Below each other: written without knowledge of each other.</p>`}
    <div class="scroll">
      <table class="stacked">
        <thead><tr><th></th><th>Dot</th><th>Written</th><th>Bytes</th><th>On</th></tr></thead>
        <tbody>
          ${all.map(
            (each) => html`<tr>
              <td><b>${named.get(each.dot)}</b></td>
              <td data-of="Dot"><code>${each.dot}</code></td>
              <td data-of="Written">${each.time}</td>
              <td data-of="Bytes">${each.deleted ? "deleted" : each.bytes}${each.replaced ? ", replaced since" : ""}</td>
              <td data-of="On">${each.holders.join(", ")}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
}
