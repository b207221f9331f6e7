// Requests to this node, and values that are asked for again and again.

import { useEffect, useState } from "/console/vendor/htm-preact.js";

const TOKEN = "sadik-token";

/** A node that says nothing for so long is taken for one that does not answer. */
const PATIENCE_MS = 40000;

let tokenWanted = () => {};

/** Call `listener` when the node wants a token that it was not given. */
export function onTokenWanted(listener) {
  tokenWanted = listener;
}

/** Keep a token for as long as this tab is open. */
export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

/**
 * One request. Answers {status, ok, headers, text, json, detail}: `json` where the body is JSON,
 * `detail` one sentence where the node refused. Never throws: a node that does not answer is
 * status 0.
 */
export async function ask(path, options = {}) {
  const headers = { ...options.headers };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  let text;
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    response = await fetch(path, { ...options, headers, signal, cache: "no-store" });
    text = await response.text();
  } catch {
    return { status: 0, ok: false, headers: new Headers(), text: "", detail: "this node does not answer" };
  }
  if (response.status === 401) tokenWanted();
  let json;
  if ((response.headers.get("Content-Type") ?? "").includes("json")) {
    try {
      json = JSON.parse(text);
    } catch {
      json = undefined;
    }
  }
  const ok = response.status >= 200 && response.status < 400;
  const detail = ok ? "" : (json?.detail ?? `the node answered ${response.status}`);
  return { status: response.status, ok, headers: response.headers, text, json, detail };
}

/** The newest answer to a GET of `path`, asked for again every `ms`; undefined before the first. */
export function usePolled(path, ms) {
  const [answer, setAnswer] = useState(undefined);
  useEffect(() => {
    let over = false;
    let timer;
    async function turn() {
      const got = await ask(path);
      if (over) return;
      setAnswer(got);
      timer = setTimeout(turn, ms);
    }
    turn();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [path, ms]);
  return answer;
}

/** A key's bytes, percent-encoded as listings show them, in a form for people. */
export function shownKey(encoded) {
  try {
    return decodeURIComponent(encoded);
  } catch {
    return encoded;
  }
}

/** Bytes with a unit. */
export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  let size = count;
  while (size >= 1024 && at < units.length - 1) {
    size /= 1024;
    at += 1;
  }
  return `${at ? size.toFixed(1) : size} ${units[at]}`;
}
