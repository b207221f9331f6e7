// The key explorer: find a key, see where it lives, who holds which version, and change it. What is
// written here bears the context of what was shown, so it replaces exactly that.

import { html, useCallback, useEffect, useState } from "/console/vendor/htm-preact.js";
import { ask, shownKey } from "/console/api.js";
import { Notice } from "/console/dialog.js";
import { History, letters } from "/console/history.js";

const PAGE = 100;

export function Keys({ rest, question }) {
  const [bucket, ...parts] = rest.split("/");
  const key = parts.join("/");
  return html`
    <h2>Keys</h2>
    <${Finder} bucket=${bucket} wanted=${shownKey(key)} />
    ${bucket && key && html`<${Found} key=${rest} path=${rest} question=${question} />`}
  `;
}

function open(bucket, encodedKey) {
  location.hash = `keys/${bucket}/${encodedKey}`;
}

/** Buckets are not kept in a list of their own: a name is typed, its keys are listed. */
function Finder({ bucket, wanted }) {
  const [listed, setListed] = useState(null);

  async function list(event) {
    event.preventDefault();
    const form = new FormData(event.target);
    await load(form.get("bucket"), form.get("prefix"), "");
  }
  async function load(name, prefix, after) {
    const query = new URLSearchParams({ prefix, limit: PAGE });
    if (!prefix) query.delete("prefix");
    // Keys are passed on as they came, already encoded.
    const more = after ? `&after=${after}` : "";
    const answer = await ask(`/v1/kv/${encodeURIComponent(name)}?${query}${more}`);
    if (!answer.ok) {
      setListed({ refusal: answer.detail, keys: [] });
      return;
    }
    const lines = answer.text.trim().split("\n").map((line) => JSON.parse(line));
    const next = lines.pop().next;
    const keys = lines.map((line) => line.key);
    setListed((before) => ({ name, prefix, next, keys: after ? [...before.keys, ...keys] : keys }));
  }
  function look(event) {
    event.preventDefault();
    const form = new FormData(event.target);
    open(form.get("bucket"), encodeURIComponent(form.get("key")).replaceAll("%2F", "/"));
  }
  return html`
    <div class="panel">
      <form class="row" id="look" onSubmit=${look}>
        <label>Bucket<input name="bucket" required pattern="[A-Za-z0-9._\\-]+" value=${bucket} /></label>
        <label>Key<input name="key" required value=${wanted} /></label>
        <button class="main">Look</button>
      </form>
    </div>
    <div class="panel">
      <form class="row" id="list" onSubmit=${list}>
        <label>Bucket<input name="bucket" required pattern="[A-Za-z0-9._\\-]+" value=${bucket} /></label>
        <label>Keys that begin with<input name="prefix" placeholder="anything" /></label>
        <button>List</button>
      </form>
      ${listed?.refusal && html`<p class="notice panel bad">${listed.refusal}</p>`}
      ${listed && !listed.refusal && !listed.keys.length && html`<p>No such key.</p>`}
      <ul id="listed">
        ${(listed?.keys ?? []).map(
          (each) => html`<li>
            <button class="link mono" onClick=${() => open(listed.name, each)}>${shownKey(each)}</button>
          </li>`,
        )}
      </ul>
      ${listed?.next &&
      html`<button onClick=${() => load(listed.name, listed.prefix, listed.next)}>More</button>`}
    </div>
  `;
}

function Found({ path, question }) {
  const [explained, setExplained] = useState(null);
  const [object, setObject] = useState(null);
  const [notice, setNotice] = useState(null);

  const load = useCallback(async () => {
    const [where, what] = await Promise.all([ask(`/v1/explain/${path}`), ask(`/v1/kv/${path}`)]);
    setExplained(where);
    setObject(what);
  }, [path]);
  useEffect(() => {
    load();
  }, [load]);

  async function change(options, words) {
    const done = await ask(`/v1/kv/${path}`, options);
    setNotice({ good: done.ok, text: done.ok ? words : done.detail });
    await load();
  }
  function put(body, fields, words) {
    const context = object.headers.get("Sadik-Context");
    const headers = context ? { ...fields, "Sadik-Context": context } : fields;
    return change({ method: "PUT", body, headers }, words);
  }
  function remove() {
    question({
      title: `Delete ${shownKey(path)}?`,
      body: html`<p>Versions that were written since it was shown here stay.</p>`,
      confirm: "Delete",
      danger: true,
      act: () => {
        const context = object.headers.get("Sadik-Context");
        return change({ method: "DELETE", headers: context ? { "Sadik-Context": context } : {} }, "Deleted.");
      },
    });
  }

  if (!object || !explained) return html`<p class="quiet">asking…</p>`;
  const versions = (explained.json?.replicas ?? []).flatMap((each) => each.versions);
  const named = letters(versions);
  return html`
    <section id="found" aria-live="polite">
      <h2 class="mono">${shownKey(path)}</h2>
      <${Notice} notice=${notice} />
      <${Value} ...${{ object, put, remove }} />
      <div class="actions"><button onClick=${load}>Look again</button></div>
      ${explained.ok
        ? html`<${Where} explained=${explained.json} named=${named} />
            <${History} explained=${explained.json} named=${named} />`
        : html`<p class="panel notice bad">${explained.detail}</p>`}
    </section>
  `;
}

function Value({ object, put, remove }) {
  if (object.status === 300) return html`<${Siblings} ...${{ object, put, remove }} />`;
  if (object.status === 404) {
    return html`<p>There is no value.</p>
      <${Editor} text="" type="text/plain" label="Store it" put=${put} />`;
  }
  if (!object.ok) return html`<p class="panel notice bad">${object.detail}</p>`;
  const type = object.headers.get("Content-Type") ?? "application/octet-stream";
  const size = new TextEncoder().encode(object.text).length;
  // U+FFFD stands where bytes were no text: to write that back would change the value.
  if (object.text.includes("\uFFFD") || size > 65536) {
    return html`<p>
        ${type}, ${size > 65536 ? "too long to be shown here" : "no text"}:${" "}
        read it with <code>sadik-node get</code>.
      </p>
      <div class="actions"><button class="danger" onClick=${remove}>Delete…</button></div>`;
  }
  return html`<${Editor} text=${object.text} type=${type} label="Replace it" put=${put} />
    <div class="actions"><button class="danger" onClick=${remove}>Delete…</button></div>`;
}

function Editor({ text, type, label, put }) {
  function submit(event) {
    event.preventDefault();
    const form = new FormData(event.target);
    put(form.get("value"), { "Content-Type": form.get("type") }, "Stored.");
  }
  return html`<form class="panel" onSubmit=${submit}>
    <label>Value<textarea name="value">${text}</textarea></label>
    <div class="actions">
      <label>Content-Type <input name="type" value=${type} required /></label>
      <button class="main">${label}</button>
    </div>
  </form>`;
}

function Siblings({ object, put, remove }) {
  const { siblings } = object.json;
  function keep(sibling) {
    const raw = Uint8Array.from(atob(sibling.value_b64), (letter) => letter.charCodeAt(0));
    put(raw, { "Content-Type": sibling.content_type, ...sibling.meta }, "Resolved: that one is left.");
  }
  const texts = siblings.map((each) => each.text).filter((text) => text !== undefined);
  return html`
    <p class="panel notice">
      ${siblings.length} versions were written without knowledge of each other. Keep one, or write what
      they make together: either replaces exactly these.
    </p>
    ${siblings.map(
      (sibling, number) => html`<div class="panel sibling">
        <h3>Version ${number + 1} <span class="quiet">${sibling.content_type}, ${sibling.last_modified}</span></h3>
        <pre>${sibling.text ?? `${atob(sibling.value_b64).length} bytes that are no text`}</pre>
        <button onClick=${() => keep(sibling)}>Keep this one</button>
      </div>`,
    )}
    <${Editor} text=${texts.join("\n")} type=${siblings[0].content_type} label="Write this instead of all" put=${put} />
    <div class="actions"><button class="danger" onClick=${remove}>Delete all of them…</button></div>
  `;
}

function Where({ explained, named }) {
  const { owners, fallbacks, replicas, hints, partition, epoch } = explained;
  const byNode = new Map(replicas.map((each) => [each.node, each]));
  const rows = [
    ...owners.map((name, at) => [`${at + 1}. owner`, name]),
    ...fallbacks.map((name, at) => [`${owners.length + at + 1}. fallback`, name]),
  ];
  return html`<h3>Where it lives</h3>
    <p class="quiet">Partition ${partition}, epoch ${epoch}. Coordinators go down this list.</p>
    <div class="scroll">
      <table id="where">
        <thead><tr><th>Place</th><th>Node</th><th>State</th><th>Versions</th><th>Why</th></tr></thead>
        <tbody>
          ${rows.map(([place, name]) => {
            const replica = byNode.get(name);
            const held = (replica?.versions ?? []).map((each) => named.get(each.dot));
            return html`<tr>
              <td>${place}</td>
              <td><b>${name}</b></td>
              <td><span class="state ${replica?.state}">${replica?.state ?? "not asked"}</span></td>
              <td>${held.join(" ") || "–"}</td>
              <td>${replica?.why ?? ""}</td>
            </tr>`;
          })}
        </tbody>
      </table>
    </div>
    ${hints.length > 0 &&
    html`<p>Waiting: ${hints.map((each) => `a hint on ${each.on} for ${each.for}`).join(", ")}.</p>`}`;
}
