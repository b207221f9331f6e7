// The console's frame: which node this is, the tabs, and questions that any tab may ask.

import { html, render, useEffect, useState } from "/console/vendor/htm-preact.js";
import { Activity } from "/console/activity.js";
import { ask, keepToken, onTokenWanted, usePolled } from "/console/api.js";
import { Question } from "/console/dialog.js";
import { Keys } from "/console/keys.js";
import { Members } from "/console/members.js";
import { Repair } from "/console/repair.js";
import { Ring } from "/console/ring.js";

const TABS = [
  ["ring", "Ring", Ring],
  ["members", "Members", Members],
  ["activity", "Activity", Activity],
  ["repair", "Repair", Repair],
  ["keys", "Keys", Keys],
];

/** The tab and what follows it in the address: `#keys/files/a.txt` is ["keys", "files/a.txt"]. */
function placeOf(hash) {
  const [tab, ...rest] = hash.replace(/^#/, "").split("/");
  return [TABS.some(([id]) => id === tab) ? tab : "ring", rest.join("/")];
}

function usePlace() {
  const [place, setPlace] = useState(placeOf(location.hash));
  useEffect(() => {
    const moved = () => setPlace(placeOf(location.hash));
    addEventListener("hashchange", moved);
    return () => removeEventListener("hashchange", moved);
  }, []);
  return place;
}

/** What this node's version can do: "POST /v1/repair" and the like. */
function useAbilities() {
  const [abilities, setAbilities] = useState(new Set());
  useEffect(() => {
    ask("/v1/openapi.json").then((answer) => {
      const found = new Set();
      for (const [path, methods] of Object.entries(answer.json?.paths ?? {})) {
        for (const method of Object.keys(methods)) found.add(`${method.toUpperCase()} ${path}`);
      }
      setAbilities(found);
    });
  }, []);
  return abilities;
}

function TokenForm({ done }) {
  function submit(event) {
    event.preventDefault();
    keepToken(new FormData(event.target).get("token"));
    done();
  }
  return html`<form class="row panel notice" onSubmit=${submit}>
    <label>
      This node wants a token. It stays in this tab alone.
      <input name="token" type="password" autocomplete="off" required />
    </label>
    <button class="main">Use it</button>
  </form>`;
}

function Health({ status }) {
  if (!status) return html`<span class="quiet">asking…</span>`;
  if (!status.ok) return html`<span class="state down">${status.detail}</span>`;
  const node = status.json;
  const state = node.ready ? "up" : "down";
  const words = node.ready ? "ready" : `not ready: ${node.waits_for}`;
  return html`<span class="state ${state}" id="health">${words}</span>
    <span class="quiet">
      cluster ${node.cluster.name}, version ${node.version}, up ${duration(node.uptime_seconds)}
    </span>`;
}

function duration(seconds) {
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

function App() {
  const [tab, rest] = usePlace();
  const [question, setQuestion] = useState(null);
  const [wantsToken, setWantsToken] = useState(false);
  const abilities = useAbilities();
  const status = usePolled("/v1/status", 2000);
  useEffect(() => onTokenWanted(() => setWantsToken(true)), []);
  const name = status?.json?.name;
  useEffect(() => {
    if (name) document.title = `${name} · Sadik`;
  }, [name]);
  const Tab = TABS.find(([id]) => id === tab)[2];
  return html`
    <header>
      <h1>Sadik ${name ?? ""}</h1>
      <${Health} status=${status} />
    </header>
    <nav aria-label="Views">
      ${TABS.map(
        ([id, title]) =>
          html`<a href="#${id}" aria-current=${id === tab ? "page" : undefined}>${title}</a>`,
      )}
    </nav>
    ${wantsToken && html`<${TokenForm} done=${() => setWantsToken(false)} />`}
    <main>
      <${Tab} rest=${rest} status=${status?.json} abilities=${abilities} question=${setQuestion} />
    </main>
    ${question && html`<${Question} question=${question} close=${() => setQuestion(null)} />`}
  `;
}

const place = document.getElementById("app");
place.replaceChildren();
render(html`<${App} />`, place);
