// What brings replicas together: hints that wait, partitions that move, and anti-entropy.

import { html, useRef, useState } from "/console/vendor/htm-preact.js";
import { ask, bytes, usePolled } from "/console/api.js";
import { Notice } from "/console/dialog.js";
import { fresh, look } from "/console/movement.js";

export function Repair({ abilities, question }) {
  const [notice, setNotice] = useState(null);
  const [isBusy, setBusy] = useState(false);

  async function compare() {
    const [ring, members] = await Promise.all([ask("/v1/ring"), ask("/v1/members")]);
    question({
      title: "Compare all replicas now?",
      body: html`<p>
        Every partition is compared among its owners by hash tree, and what differs is exchanged both
        ways. It yields to requests, deletes nothing, and happens by itself in the background too.
      </p>
      <${Plan} ring=${ring} members=${members} />`,
      confirm: "Compare",
      act: async () => {
        setBusy(true);
        setNotice({ good: true, text: "Comparing…" });
        const done = await ask("/v1/repair", { method: "POST" });
        setBusy(false);
        setNotice({ good: done.ok, text: done.ok ? told(done.json) : done.detail });
      },
    });
  }

  return html`
    <${Hints} />
    <${Transfers} />
    <h2>Anti-entropy</h2>
    <${Notice} notice=${notice} />
    ${abilities.has("POST /v1/repair")
      ? html`<button id="repair" disabled=${isBusy} onClick=${compare}>Compare replicas now…</button>`
      : html`<p class="quiet">This node's version compares replicas by itself only.</p>`}
  `;
}

/** What a comparison would go through, and with whom it could not be made. */
function Plan({ ring, members }) {
  if (!ring.ok || !members.ok) return html`<p class="notice panel bad">${ring.detail || members.detail}</p>`;
  const owners = new Set(ring.json.owners.flat());
  const away = members.json.members.filter((each) => owners.has(each.name) && each.state !== "up");
  return html`<p id="plan">
    ${ring.json.partitions} partitions, each among ${ring.json.replicas} of ${owners.size} owners.
    ${away.length > 0 && html`<b>Not reached now: ${away.map((each) => each.name).join(", ")}.</b>`}
  </p>`;
}

function told(result) {
  const so = result.finished ? "All" : "So far";
  const away = result.unreachable.length ? ` Not reached: ${result.unreachable.join(", ")}.` : "";
  return (
    `${so} ${result.partitions_done} of ${result.partitions} partitions compared: ` +
    `${result.differences} differences, ${result.repaired} records repaired.${away}`
  );
}

function Hints() {
  const answer = usePolled("/v1/hints", 1000);
  if (!answer) return html`<h2>Hints</h2><p class="quiet">asking…</p>`;
  if (!answer.ok) return html`<h2>Hints</h2><p class="panel notice bad">${answer.detail}</p>`;
  const { total, by_node: byNode } = answer.json;
  return html`<h2>Hints that wait on this node</h2>
    ${total === 0
      ? html`<p id="no-hints">None: every owner has what was written for it here.</p>`
      : html`<table id="hints">
          <thead><tr><th>For</th><th class="number">Writes</th></tr></thead>
          <tbody>
            ${Object.entries(byNode).map(
              ([name, count]) => html`<tr><td>${name}</td><td class="number">${count}</td></tr>`,
            )}
          </tbody>
        </table>`}`;
}

function Transfers() {
  const answer = usePolled("/v1/transfers", 1000);
  const transfers = answer?.json?.transfers ?? [];
  const counted = useRef(fresh());
  const seen = useRef({ answer: undefined, told: undefined });
  if (answer?.ok && seen.current.answer !== answer) {
    seen.current = { answer, told: look(counted.current, Date.now(), transfers) };
  }
  const told = seen.current.told;
  return html`<h2>Transfers</h2>
    ${answer && !answer.ok && html`<p class="panel notice bad">${answer.detail}</p>`}
    ${transfers.length === 0
      ? html`<p>None: the ring is where it should be.</p>`
      : html`${told &&
          html`<p id="movement">
            <progress max=${told.total || 1} value=${told.done}></progress> ${told.text}
          </p>`}
        <div class="scroll"><table>
          <thead>
            <tr><th>Partition</th><th>From</th><th>To</th><th>Done</th><th>State</th><th>Why</th></tr>
          </thead>
          <tbody>
            ${transfers.slice(0, 200).map(
              (each) => html`<tr>
                <td>${each.partition}</td>
                <td>${each.from || "–"}</td>
                <td>${each.to}</td>
                <td>
                  <progress max=${each.bytes_total || 1} value=${each.bytes_done}></progress>
                  ${bytes(each.bytes_done)} of ${bytes(each.bytes_total)}
                </td>
                <td>${each.state}</td>
                <td>${each.reason}</td>
              </tr>`,
            )}
          </tbody>
        </table></div>`}
    ${transfers.length > 200 && html`<p class="quiet">${transfers.length - 200} more.</p>`}`;
}
