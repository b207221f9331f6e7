// The members: who is there and how they are, and an operator's decisions about them. Every
// decision shows what it would move before it is asked for.

import { html, useState } from "/console/vendor/htm-preact.js";
import { ask, usePolled } from "/console/api.js";
import { Notice } from "/console/dialog.js";

export function Members({ abilities, question }) {
  const answer = usePolled("/v1/members", 1000);
  const [notice, setNotice] = useState(null);
  if (!answer) return html`<p class="quiet">asking…</p>`;
  if (!answer.ok) return html`<p class="panel notice bad">${answer.detail}</p>`;

  async function decide(member, verb) {
    const plan = await ask(`/v1/plan?${verb}=${encodeURIComponent(member.name)}`);
    const words = {
      leave: `${member.name} hands over everything that it owns, and ends.`,
      remove: `${member.name} is taken out for good. What it held comes from the other owners; a write that only it had is lost.`,
    };
    question({
      title: `${verb === "leave" ? "Let" : "Remove"} ${member.name}${verb === "leave" ? " leave" : ""}?`,
      body: html`<p>${words[verb]}</p>
        <${Plan} plan=${plan} />`,
      confirm: verb === "leave" ? "Leave" : "Remove",
      danger: true,
      act: async () => {
        const path = `/v1/members/${encodeURIComponent(member.name)}/${verb}`;
        const done = await ask(path, { method: "POST" });
        setNotice({ good: done.ok, text: done.ok ? `It was asked for: ${member.name} ${verb}s.` : done.detail });
      },
    });
  }

  const can = abilities.has("POST /v1/members/{name}/{action}");
  const members = answer.json.members;
  return html`
    <h2>Members</h2>
    <${Notice} notice=${notice} />
    <div class="scroll">
      <table id="members" class="stacked">
        <thead>
          <tr><th>Name</th><th>State</th><th>Zone</th><th>HTTP</th><th>Peers</th><th>Id</th><th></th></tr>
        </thead>
        <tbody>
          ${members.map(
            (each) => html`<tr>
              <td><b>${each.name}</b>${each.self ? " (this node)" : ""}</td>
              <td><span class="state ${each.state}">${each.state}</span></td>
              <td data-of="Zone">${each.zone || "–"}</td>
              <td data-of="HTTP">${each.http ? html`<a href="${location.protocol}//${each.http}/">${each.http}</a>` : "–"}</td>
              <td data-of="Peers">${each.peer}</td>
              <td data-of="Id"><code>${each.id}</code></td>
              <td>
                ${can && ["up", "suspect"].includes(each.state) &&
                html`<button onClick=${() => decide(each, "leave")}>Leave…</button>`}
                ${can && each.state === "down" &&
                html`<button class="danger" onClick=${() => decide(each, "remove")}>Remove…</button>`}
              </td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>
    <p class="quiet">
      Up, suspect and down are this node's own belief, for routing only: being down moves no data and
      removes nobody.
    </p>
  `;
}

function Plan({ plan }) {
  if (!plan.ok) return html`<p class="notice panel bad">The plan: ${plan.detail}</p>`;
  const { moves, moves_min: least, nodes } = plan.json;
  return html`<p id="plan">
      ${moves.length} replicas of partitions move; ${least} is the least that can be.
    </p>
    <div class="scroll">
      <table>
        <thead><tr><th>Node</th><th class="number">Owns now</th><th class="number">Then</th></tr></thead>
        <tbody>
          ${nodes.map(
            (each) => html`<tr>
              <td>${each.name}</td>
              <td class="number">${each.partitions_now}</td>
              <td class="number">${each.partitions_then}</td>
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
}
