// The ring as a picture: partitions round a circle, one band for each owner slot, the first owner
// outermost. Hatched is what belongs to a node that is not up; dots outside are partitions that move.

import { html, useRef, useState } from "/console/vendor/htm-preact.js";
import { usePolled } from "/console/api.js";

const CENTRE = 200;
const OUTER = 184;
const BAND = 34;
const GAP = 3;
/** Partitions that Page Up and Page Down go at once. */
const LEAP = 16;

/** One colour a name, the same on every page and node. */
export function colours(names) {
  const sorted = [...names].sort();
  return new Map(sorted.map((name, at) => [name, `hsl(${(200 + at * 137.5) % 360} 48% 52%)`]));
}

function at(angle, radius) {
  const x = CENTRE + radius * Math.sin(angle);
  const y = CENTRE - radius * Math.cos(angle);
  return `${x.toFixed(2)} ${y.toFixed(2)}`;
}

/** The path of the partitions from `first` up to `end` in the band of a slot. */
function sector(first, end, count, slot) {
  const [from, to] = [(first / count) * 2 * Math.PI, (end / count) * 2 * Math.PI];
  const outer = OUTER - slot * BAND;
  const inner = outer - BAND + GAP;
  if (end - first === count) {
    // A circle cannot be one arc: two halves.
    return sector(0, count / 2, count, slot) + sector(count / 2, count, count, slot);
  }
  const large = to - from > Math.PI ? 1 : 0;
  return (
    `M${at(from, outer)}A${outer} ${outer} 0 ${large} 1 ${at(to, outer)}` +
    `L${at(to, inner)}A${inner} ${inner} 0 ${large} 0 ${at(from, inner)}Z`
  );
}

/** All partitions that a node has in a slot, as one path: by "slot name". */
function bands(owners) {
  const paths = new Map();
  const slots = Math.max(...owners.map((each) => each.length), 0);
  for (let slot = 0; slot < slots; slot += 1) {
    let first = 0;
    for (let partition = 1; partition <= owners.length; partition += 1) {
      const name = owners[first][slot];
      if (partition < owners.length && owners[partition][slot] === name) continue;
      if (name !== undefined) {
        const key = `${slot} ${name}`;
        paths.set(key, (paths.get(key) ?? "") + sector(first, partition, owners.length, slot));
      }
      first = partition;
    }
  }
  return paths;
}

export function Ring() {
  const ring = usePolled("/v1/ring", 2000);
  const members = usePolled("/v1/members", 1000);
  const transfers = usePolled("/v1/transfers", 2000);
  const [chosen, setChosen] = useState(0);
  if (!ring || !members) return html`<p class="quiet">asking…</p>`;
  if (!ring.ok) return html`<p class="panel notice bad">${ring.detail}</p>`;
  const { owners, epoch, replicas } = ring.json;
  const known = members.json?.members ?? [];
  const byName = new Map(known.filter((each) => each.state !== "left").map((m) => [m.name, m]));
  const palette = colours(new Set([...byName.keys(), ...owners.flat()]));
  const moving = new Set((transfers?.json?.transfers ?? []).map((each) => each.partition));
  const partition = Math.min(chosen, owners.length - 1);
  return html`
    <section class="ring">
      <${Picture} ...${{ owners, byName, palette, moving, partition, setChosen }} />
      <div>
        <h2>Partition ${partition}</h2>
        <p class="quiet">
          ${owners.length} partitions, ${replicas} replicas each, epoch ${epoch}. Point at the ring,
          or use the arrow keys in it.
        </p>
        <ol id="owners">
          ${owners[partition].map(
            (name) => html`<li>
              <span class="swatch" style=${{ background: palette.get(name) }}></span>
              <b>${name}</b>${" "}
              <span class="state ${byName.get(name)?.state}">${byName.get(name)?.state ?? "unknown"}</span>
              ${byName.get(name)?.zone && html`<span class="quiet"> zone ${byName.get(name).zone}</span>`}
            </li>`,
          )}
        </ol>
        ${moving.has(partition) && html`<p>It moves: see <a href="#repair">transfers</a>.</p>`}
        <${Shares} ...${{ owners, byName, palette }} />
      </div>
    </section>
  `;
}

function Picture({ owners, byName, palette, moving, partition, setChosen }) {
  const picture = useRef(null);
  const count = owners.length;
  function point(event) {
    const box = picture.current.getBoundingClientRect();
    const x = event.clientX - box.left - box.width / 2;
    const y = event.clientY - box.top - box.height / 2;
    const turn = (Math.atan2(x, -y) / (2 * Math.PI) + 1) % 1;
    setChosen(Math.floor(turn * count) % count);
  }
  function key(event) {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: LEAP, PageDown: -LEAP };
    const ends = { Home: 0, End: count - 1 };
    const wanted = ends[event.key] ?? partition + steps[event.key];
    if (Number.isNaN(wanted)) return;
    event.preventDefault();
    setChosen((wanted + count) % count);
  }
  const paths = [...bands(owners)].map(([where, path]) => {
    const name = where.slice(where.indexOf(" ") + 1);
    return { name, path, isUp: ["up", "leaving", "joining"].includes(byName.get(name)?.state) };
  });
  const slots = Math.max(...owners.map((each) => each.length), 1);
  const inner = OUTER - slots * BAND + GAP;
  const words = `partition ${partition}: ${owners[partition].join(", ")}`;
  return html`<svg
    ref=${picture}
    viewBox="0 0 400 400"
    tabindex="0"
    role="slider"
    aria-label="The ring"
    aria-valuemin="0"
    aria-valuemax=${count - 1}
    aria-valuenow=${partition}
    aria-valuetext=${words}
    onPointerMove=${point}
    onPointerDown=${point}
    onKeyDown=${key}
  >
    <defs>
      <pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
        <rect width="6" height="6" fill="var(--panel)" opacity="0.55" />
        <rect width="2" height="6" fill="var(--bad)" />
      </pattern>
    </defs>
    ${paths.map(
      ({ name, path, isUp }) => html`
        <path d=${path} fill=${palette.get(name)} />
        ${!isUp && html`<path d=${path} fill="url(#hatch)" class="not-up" />`}
      `,
    )}
    ${[...moving].map((each) => {
      const [x, y] = at(((each + 0.5) / count) * 2 * Math.PI, OUTER + 8).split(" ");
      return html`<circle cx=${x} cy=${y} r="3.5" fill="var(--warn)" class="moving" />`;
    })}
    <path
      d=${`M${at((partition / count) * 2 * Math.PI, inner - 10)}L${at((partition / count) * 2 * Math.PI, OUTER + 4)}` +
      `M${at(((partition + 1) / count) * 2 * Math.PI, inner - 10)}L${at(((partition + 1) / count) * 2 * Math.PI, OUTER + 4)}`}
      stroke="var(--ink)"
      stroke-width="1.5"
    />
    <text x="200" y="196" text-anchor="middle" fill="var(--ink)" font-size="20">${partition}</text>
    <text x="200" y="216" text-anchor="middle" fill="var(--quiet)" font-size="12">of ${count}</text>
  </svg>`;
}

function Shares({ owners, byName, palette }) {
  const first = new Map();
  const all = new Map();
  for (const list of owners) {
    list.forEach((name, slot) => {
      all.set(name, (all.get(name) ?? 0) + 1);
      if (!slot) first.set(name, (first.get(name) ?? 0) + 1);
    });
  }
  const names = [...new Set([...byName.keys(), ...all.keys()])].sort();
  return html`<div class="scroll">
    <table>
      <thead>
        <tr><th>Node</th><th>Zone</th><th class="number">Partitions</th><th class="number">as first</th></tr>
      </thead>
      <tbody>
        ${names.map(
          (name) => html`<tr>
            <td><span class="swatch" style=${{ background: palette.get(name) }}></span>${name}</td>
            <td>${byName.get(name)?.zone || "–"}</td>
            <td class="number">${all.get(name) ?? 0}</td>
            <td class="number">${first.get(name) ?? 0}</td>
          </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
