// What this node does now: rates and latencies, read from its metrics every second while this tab is
// open, and drawn for the last five minutes.

import { html, useEffect, useRef, useState } from "/console/vendor/htm-preact.js";
import { ask, bytes } from "/console/api.js";
import { parse, quantile, total } from "/console/metrics.js";

const KEPT = 300;
const LEAST_S = 60;
const EMPTY = {
  times: [], gets: [], puts: [], get99: [], put99: [], first: [], majority: [], last: [], repairs: [], hints: [],
};

/** One point of every line from two scrapes that are `seconds` apart. */
function point(before, now, seconds) {
  const rate = (name, labels) => Math.max(0, total(now, name, labels) - total(before, name, labels)) / seconds;
  const milliseconds = (name, labels) => {
    const value = quantile(before, now, name, labels, 0.99);
    return value === null ? null : value * 1000;
  };
  const p99 = (op) => milliseconds("sadik_request_duration_seconds", { op });
  const copied = (copy) => milliseconds("sadik_write_copy_seconds", { copy });
  return {
    gets: rate("sadik_requests_total", { op: "get" }),
    puts: rate("sadik_requests_total", { op: "put" }),
    get99: p99("get"),
    put99: p99("put"),
    first: copied("first"),
    majority: copied("majority"),
    last: copied("last"),
    repairs: rate("sadik_read_repairs_total") + rate("sadik_anti_entropy_repaired_total"),
    hints: total(now, "sadik_hints_pending"),
  };
}

function useLines() {
  const [state, setState] = useState({ lines: EMPTY, newest: null, refusal: "" });
  useEffect(() => {
    let over = false;
    let timer;
    let before = null;
    let lines = EMPTY;
    async function turn() {
      const answer = await ask("/metrics");
      if (over) return;
      const time = Date.now() / 1000;
      const now = answer.ok ? parse(answer.text) : null;
      if (now && before) {
        const values = { times: time, ...point(before.families, now, time - before.time) };
        const longer = (name) => [...lines[name], values[name]].slice(-KEPT);
        lines = Object.fromEntries(Object.keys(lines).map((name) => [name, longer(name)]));
      }
      before = now && { families: now, time };
      setState({ lines, newest: now, refusal: answer.ok ? "" : answer.detail });
      timer = setTimeout(turn, 1000);
    }
    turn();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, []);
  return state;
}

function Chart({ title, unit, series, data }) {
  const place = useRef(null);
  const chart = useRef(null);
  useEffect(() => {
    const ink = getComputedStyle(document.documentElement).getPropertyValue("--quiet");
    const grid = getComputedStyle(document.documentElement).getPropertyValue("--line");
    const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid } };
    const options = {
      width: place.current.clientWidth,
      height: 180,
      legend: { live: true },
      scales: {
        // A minute at least: seconds stay seconds while there are few.
        x: { range: (_, first, last) => [Math.min(first, last - LEAST_S), last] },
        y: { range: (_, __, most) => [0, Math.max(most * 1.1, 1)] },
      },
      axes: [axis, { ...axis, size: 56 }],
      series: [
        {},
        ...series.map(([label, colour]) => ({
          label,
          stroke: colour,
          width: 2,
          value: (_, value) => (value === null || value === undefined ? "–" : `${value.toFixed(1)} ${unit}`),
        })),
      ],
    };
    chart.current = new uPlot(options, data, place.current);
    const resize = () => chart.current.setSize({ width: place.current.clientWidth, height: 180 });
    addEventListener("resize", resize);
    return () => {
      removeEventListener("resize", resize);
      chart.current.destroy();
    };
  }, []);
  useEffect(() => chart.current.setData(data), [data]);
  return html`<section class="panel">
    <h3>${title}</h3>
    <div class="chart" ref=${place}></div>
  </section>`;
}

const GREEN = "hsl(167 50% 42%)";
const BLUE = "hsl(225 55% 60%)";
const ORANGE = "hsl(35 80% 45%)";

export function Activity({ status }) {
  const { lines, newest, refusal } = useLines();
  const last = (name) => lines[name].at(-1);
  const shown = (value, unit) => (value === undefined || value === null ? "–" : `${value.toFixed(1)} ${unit}`);
  return html`
    <h2>This node, now</h2>
    ${refusal && html`<p class="panel notice bad">${refusal}</p>`}
    <div class="tiles">
      <div class="tile"><b id="gets">${shown(last("gets"), "/s")}</b>gets</div>
      <div class="tile"><b id="puts">${shown(last("puts"), "/s")}</b>puts</div>
      <div class="tile"><b>${shown(last("get99"), "ms")}</b>p99 of gets</div>
      <div class="tile"><b>${shown(last("put99"), "ms")}</b>p99 of puts</div>
      <div class="tile"><b id="stale">${shown(last("last"), "ms")}</b>p99 to the last replica</div>
      <div class="tile"><b>${newest ? total(newest, "sadik_hints_pending") : "–"}</b>hints waiting</div>
      <div class="tile"><b>${newest ? bytes(total(newest, "sadik_store_bytes")) : "–"}</b>stored</div>
      <div class="tile"><b>${newest ? total(newest, "sadik_store_keys") : "–"}</b>rows in the store</div>
      <div class="tile"><b>${status?.requests.connections ?? "–"}</b>connections</div>
    </div>
    <${Chart}
      title="Requests per second"
      unit="/s"
      series=${[["gets", GREEN], ["puts", BLUE]]}
      data=${[lines.times, lines.gets, lines.puts]}
    />
    <${Chart}
      title="Latency in ms, 99th percentile of each second"
      unit="ms"
      series=${[["gets", GREEN], ["puts", BLUE]]}
      data=${[lines.times, lines.get99, lines.put99]}
    />
    <${Chart}
      title="Staleness: ms from a write to its copies on disk, 99th percentile of each second"
      unit="ms"
      series=${[["first owner", GREEN], ["majority", BLUE], ["last owner", ORANGE]]}
      data=${[lines.times, lines.first, lines.majority, lines.last]}
    />
    <${Chart}
      title="Repair: records brought up to date per second, and hints that wait"
      unit=""
      series=${[["repaired", ORANGE], ["hints", BLUE]]}
      data=${[lines.times, lines.repairs, lines.hints]}
    />
  `;
}
