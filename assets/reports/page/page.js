"use strict";
// Draws the charts and makes the tables sort, filter and download. Every number comes from the JSON in the page.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const root = document.documentElement;

  // ---- tables -------------------------------------------------------------------------------------------------
  const sortValue = (cell) => {
    const raw = cell?.dataset.v;
    if (raw === "" || raw === undefined) return null;
    return Number.isNaN(Number(raw)) ? raw.toLowerCase() : Number(raw);
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  const quoted = (text) => {
    // A spreadsheet would run a cell that begins like a formula.
    const safe = /^[=+@\t\r]/.test(text) || (text.startsWith("-") && Number.isNaN(Number(text))) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const makeTable = (box) => {
    const body = box.querySelector("tbody");
    const heads = [...box.querySelectorAll("thead th")];
    const filter = box.querySelector("[data-filter]");
    const more = box.querySelector("[data-more]");
    const state = { limit: Number(box.dataset.limit) };
    const show = () => {
      const wanted = filter.value.trim().toLowerCase();
      let shown = 0;
      let found = 0;
      for (const row of body.rows) {
        const match = !wanted || row.textContent.toLowerCase().includes(wanted);
        found += match ? 1 : 0;
        row.hidden = !match || shown >= state.limit;
        shown += row.hidden ? 0 : 1;
      }
      box.querySelector("[data-count]").textContent = wanted ? `${found} of ${body.rows.length} rows match` : "";
    };
    heads.forEach((head, column) => {
      head.querySelector("button").addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = [...body.rows].map((row, i) => ({ row, i, v: sortValue(row.cells[column]) }));
        rows.sort((a, b) => {
          if (a.v === null || b.v === null) return (a.v === null) - (b.v === null) || a.i - b.i;
          return (down ? -1 : 1) * compare(a.v, b.v) || a.i - b.i;
        });
        body.append(...rows.map((entry) => entry.row));
        show();
      });
    });
    filter.addEventListener("input", show);
    if (more) {
      more.addEventListener("click", () => {
        const open = more.getAttribute("aria-expanded") === "true";
        state.limit = open ? Number(box.dataset.limit) : Infinity;
        more.setAttribute("aria-expanded", String(!open));
        more.textContent = open ? `Show all ${body.rows.length}` : "Show fewer";
        show();
      });
    }
    box.querySelector("[data-csv]").addEventListener("click", () => {
      const lines = [heads.map((head) => quoted(head.textContent.trim()))];
      for (const row of body.rows) {
        lines.push([...row.cells].map((cell) => {
          const number = cell.dataset.v !== "" && !Number.isNaN(Number(cell.dataset.v));
          const detail = cell.querySelector(".detail")?.textContent ?? "";
          const parts = [cell.textContent.slice(0, cell.textContent.length - detail.length).trim(), detail.trim()];
          return quoted(number ? cell.dataset.v : parts.filter(Boolean).join("; "));
        }));
      }
      const url = URL.createObjectURL(new Blob([lines.map((l) => l.join(",")).join("\r\n") + "\r\n"], { type: "text/csv" }));
      const link = Object.assign(document.createElement("a"), { href: url, download: `${box.dataset.table}.csv` });
      link.click();
      URL.revokeObjectURL(url);
    });
    const scroller = box.querySelector(".scroller");
    new ResizeObserver(() => scroller.classList.toggle("wide", scroller.scrollWidth > scroller.clientWidth + 1)).observe(scroller);
    return { show };
  };
  const tables = new Map([...document.querySelectorAll("[data-table]")].filter((box) => box.querySelector("tbody"))
    .map((box) => [box.dataset.table, makeTable(box)]));

  // ---- helpers of the charts ------------------------------------------------------------------------------------
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  // Plotly reads a little HTML in texts: names must reach the reader as they are.
  const escaped = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const percent = (value) => `${(100 * value).toFixed(1)} %`;
  const unpack = (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    return new Float64Array(bytes.buffer);
  };
  const shortened = (name, width) => (name.length > width ? `${name.slice(0, width - 1)}…` : name);
  const options = (select, entries) => {
    select.replaceChildren(...entries.map(([value, label]) => Object.assign(document.createElement("option"), { value, textContent: label })));
  };
  const layout = (more) => {
    const axis = { gridcolor: css("--line"), zerolinecolor: css("--line"), linecolor: css("--soft"), automargin: true };
    const { xaxis, yaxis, ...rest } = more;
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: css("--ink"), size: 13 },
      margin: { l: 62, r: 14, t: 12, b: 52 }, showlegend: false, hovermode: "closest",
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      hoverlabel: { bgcolor: css("--card"), bordercolor: css("--accent"), font: { color: css("--ink") }, namelength: -1 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--soft"), activecolor: css("--accent") },
      xaxis: { ...axis, ...xaxis }, yaxis: { ...axis, ...yaxis }, ...rest,
    };
  };
  const config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };
  const lineTraces = (line) => (line ? [
    { x: [...line.x, ...[...line.x].reverse()], y: [...line.high, ...[...line.low].reverse()], fill: "toself",
      fillcolor: css("--band"), line: { width: 0 }, mode: "lines", hoverinfo: "skip" },
    { x: line.x, y: line.mean, mode: "lines", line: { color: css("--accent"), width: 2 }, hoverinfo: "skip" },
  ] : []);

  // One point is chosen by hovering, by a tap, or by the arrow keys; the line below the chart reads it out.
  const pointChart = (id, points, line, xTitle, yTitle) => {
    const div = $(id);
    const traces = [...lineTraces(line), {
      x: points.map((p) => p.x), y: points.map((p) => p.y), mode: "markers", type: "scatter",
      text: points.map((p) => `<b>${escaped(p.name)}</b><br>${xTitle}: ${p.x.toFixed(3)}<br>${yTitle}: ${percent(p.y)}${p.remark ? `<br>${p.remark}` : ""}`),
      hovertemplate: "%{text}<extra></extra>",
      marker: { size: 10, color: css("--point"), line: { color: css("--card"), width: 1 }, symbol: points.map((p) => (p.remark ? "diamond-open" : "circle")) },
    }];
    const last = traces.length - 1;
    const highest = Math.max(...points.map((p) => p.y), ...(line?.high ?? []), 0);
    Plotly.react(div, traces, layout({
      xaxis: { title: { text: xTitle }, rangemode: "tozero" },
      yaxis: { title: { text: yTitle }, tickformat: highest < 0.05 ? ".1%" : ".0%", range: [0, highest * 1.08 || 1] },
    }), config);
    const say = (i) => {
      const p = points[i];
      $(`${id.replace("-chart", "")}-readout`).textContent = `${p.name}: ${xTitle} ${p.x.toFixed(3)}, ${yTitle} ${percent(p.y)}${p.remark ? ` (${p.remark})` : ""}`;
    };
    div.removeAllListeners?.("plotly_hover");
    div.on("plotly_hover", (event) => { if (event.points[0].curveNumber === last) say(event.points[0].pointNumber); });
    const order = points.map((_, i) => i).sort((a, b) => points[a].x - points[b].x);
    let at = -1;
    div.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (!step || !order.length) return;
      event.preventDefault();
      at = (at + step + order.length) % order.length;
      Plotly.Fx.hover(div, [{ curveNumber: last, pointNumber: order[at] }]);
      say(order[at]);
    };
  };

  // ---- a study's scatter ------------------------------------------------------------------------------------------
  const names = data.tasks ?? [];
  const n = names.length;
  const layers = data.share ? { share: unpack(data.share), entropy: unpack(data.entropy), error: unpack(data.error) } : null;
  const same = new Set((data.same ?? []).map(([s, t]) => s * n + t));
  const panelOf = () => data.panels.find((p) => p.source === Number($("source").value) && p.values === Number($("values").value));
  const drawScatter = () => {
    const panel = panelOf();
    const points = panel.targets.map((t) => ({
      name: names[t], x: layers.entropy[panel.source * n + t], y: layers.error[panel.source * n + t],
      remark: same.has(panel.source * n + t) ? "same labels as the source" : "",
    }));
    $("scatter-caption").textContent = `${names[panel.source]}: ${panel.caption}`;
    $("table-points").caption.textContent = `Targets of ${names[panel.source]}`;
    const cell = (tag, text, value, kind) => {
      const made = document.createElement(tag);
      made.textContent = text;
      made.dataset.v = value;
      if (kind) made.className = kind;
      return made;
    };
    $("table-points").tBodies[0].replaceChildren(...points.map((p) => {
      const row = document.createElement("tr");
      const head = cell("th", p.name, p.name);
      head.scope = "row";
      row.append(head, cell("td", p.x.toFixed(4), p.x, "num"), cell("td", percent(p.y), p.y, "num"), cell("td", p.remark, p.remark));
      return row;
    }));
    tables.get("points").show();
    pointChart("scatter", points, panel.line, "H(Y|Z), nats", "transfer error");
  };
  const startScatter = () => {
    if (!$("scatter")) return;
    const sources = [...new Set(data.panels.map((p) => p.source))];
    const widths = [...new Set(data.panels.map((p) => p.values))];
    options($("source"), sources.map((s) => [s, names[s]]));
    options($("values"), widths.map((v) => [v, `${v} values`]));
    $("values").value = data.values;
    const first = data.panels[data.first];
    $("source").value = first.source;
    $("values-label").hidden = widths.length < 2;
    const step = (by) => {
      $("source").selectedIndex = ($("source").selectedIndex + by + sources.length) % sources.length;
      drawScatter();
    };
    $("source").onchange = $("values").onchange = drawScatter;
    $("previous").onclick = () => step(-1);
    $("next").onclick = () => step(1);
    drawScatter();
  };

  // ---- hardness -----------------------------------------------------------------------------------------------------
  const drawHardness = () => {
    const panel = data.hardnessPanels[Number($("hardness-values").value)];
    $("hardness-caption").textContent = panel.caption;
    pointChart("hardness-chart", panel.names.map((name, i) => ({ name, x: panel.x[i], y: panel.y[i] })), panel.line,
      "hardness H(Z), nats", "dedicated test error");
  };
  const startHardness = () => {
    if (!$("hardness-chart")) return;
    options($("hardness-values"), data.hardnessPanels.map((p, i) => [i, `${p.title ?? ""}${p.title ? ": " : ""}${p.values} values`]));
    $("hardness-values").value = Math.max(0, data.hardnessPanels.findIndex((p) => p.values === data.values));
    $("hardness-label").hidden = data.hardnessPanels.length < 2;
    $("hardness-values").onchange = drawHardness;
    drawHardness();
  };

  // ---- all studies' hardness, side by side ------------------------------------------------------------------------------
  const drawPanels = () => {
    data.benchmark.forEach((panel, i) => {
      $(`panel-${i}-caption`).textContent = panel.caption;
      pointChart(`panel-${i}`, panel.names.map((name, k) => ({ name, x: panel.x[k], y: panel.y[k], remark: "" })), panel.line,
        "hardness H(Z), nats", "dedicated test error");
    });
  };
  const startPanels = () => {
    if (!$("panels")) return;
    $("no-panels").hidden = data.benchmark.length > 0;
    $("panels").replaceChildren(...data.benchmark.map((panel, i) => {
      const made = (tag, more) => Object.assign(document.createElement(tag), more);
      const box = made("div", {});
      const chart = made("div", { id: `panel-${i}`, className: "chart", tabIndex: 0 });
      chart.setAttribute("role", "group");
      chart.setAttribute("aria-label", `${panel.title}: hardness against dedicated test error. Arrow keys step through the tasks.`);
      const readout = made("p", { id: `panel-${i}-readout`, className: "readout" });
      readout.setAttribute("role", "status");
      box.append(made("h3", { textContent: panel.title }), made("p", { id: `panel-${i}-caption`, className: "caption" }), chart, readout);
      return box;
    }));
    drawPanels();
  };

  // ---- heat map ------------------------------------------------------------------------------------------------------
  const drawHeat = () => {
    const layer = $("layer").value;
    const values = layers[layer];
    const z = names.map((_, s) => Array.from(values.subarray(s * n, (s + 1) * n), (v) => (Number.isNaN(v) ? null : v)));
    const wide = $("heat").clientWidth > 560;
    const labelled = n <= (wide ? 60 : 20);
    const ticks = { showticklabels: labelled, tickmode: "array", tickvals: names.map((_, i) => i), showgrid: false, zeroline: false,
      ticktext: names.map((name) => escaped(shortened(name, wide ? 22 : 12))), tickfont: { size: n > 40 ? 9 : wide ? 11 : 9 }, ticks: "" };
    const treeX = [];
    const treeY = [];
    for (const [x, y] of data.segments) { treeX.push(...x, null); treeY.push(...y, null); }
    $("ramp-low").textContent = { share: "0: the source tells all", entropy: "0 nats", error: "0 %" }[layer];
    const top = layer === "share" ? 1 : Math.max(...values.filter((v) => !Number.isNaN(v)), 1e-9);
    $("ramp-high").textContent = { share: "1: it tells nothing", entropy: `${top.toFixed(2)} nats`, error: percent(top) }[layer];
    Plotly.react($("heat"), [
      { type: "heatmap", z, zmin: 0, zmax: top, colorscale: "Cividis", hoverongaps: false, hoverinfo: "none", showscale: false },
      { x: treeX, y: treeY, mode: "lines", line: { color: css("--soft"), width: 1 }, hoverinfo: "skip", yaxis: "y2" },
    ], layout({
      margin: { l: 36, r: 8, t: 6, b: 36 }, shapes: heatShapes(),
      xaxis: { ...ticks, range: [-0.5, n - 0.5], tickangle: -90, title: { text: "target", standoff: 12 } },
      yaxis: { ...ticks, range: [n - 0.5, -0.5], domain: [0, 0.86], title: { text: "source", standoff: 12 } },
      yaxis2: { domain: [0.88, 1], showgrid: false, zeroline: false, showticklabels: false, rangemode: "tozero" },
    }), config);
  };
  // Cells without a number show this ground; the frame marks the cell that the arrow keys stand on.
  const heatShapes = (s, t) => [
    { type: "rect", xref: "paper", yref: "paper", x0: 0, x1: 1, y0: 0, y1: 0.86, layer: "below", line: { width: 0 }, fillcolor: css("--gap") },
    ...(s === undefined ? [] : [{ type: "rect", x0: t - 0.5, x1: t + 0.5, y0: s - 0.5, y1: s + 0.5, line: { color: css("--point"), width: 3 } }]),
  ];
  const sayPair = (s, t) => {
    const k = s * n + t;
    const parts = [];
    if (!Number.isNaN(layers.entropy[k])) parts.push(`H(Y|Z) = ${layers.entropy[k].toFixed(3)} nats`);
    if (!Number.isNaN(layers.share[k])) parts.push(`${(100 * layers.share[k]).toFixed(0)} % of H(Y) left`);
    if (!Number.isNaN(layers.error[k])) parts.push(`transfer error ${percent(layers.error[k])}`);
    if (same.has(k)) parts.push("same labels");
    const what = s === t ? "the task itself" : parts.length ? parts.join(", ") : "not asked for, or not defined";
    return [`${names[s]} → ${names[t]}`, what];
  };
  const startHeat = () => {
    if (!$("heat")) return;
    const div = $("heat");
    const tip = Object.assign(document.createElement("div"), { id: "heat-tip", className: "tip", hidden: true });
    document.body.append(tip);
    drawHeat();
    const read = (s, t) => {
      const [pair, what] = sayPair(s, t);
      $("heat-readout").textContent = `${pair}: ${what}`;
      return [pair, what];
    };
    div.on("plotly_hover", ({ points, event }) => {
      const point = points.find((p) => p.curveNumber === 0);
      if (!point) return;
      const [pair, what] = read(point.pointIndex[0], point.pointIndex[1]);
      tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: pair }), document.createElement("br"), what);
      tip.hidden = false;
      const x = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
      tip.style.left = `${Math.max(8, x)}px`;
      tip.style.top = `${Math.max(8, event.clientY - tip.offsetHeight - 12)}px`;
    });
    div.on("plotly_unhover", () => { tip.hidden = true; });
    let s = 0;
    let t = 0;
    div.onkeydown = (event) => {
      const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
      if (!step) return;
      event.preventDefault();
      s = (s + step[0] + n) % n;
      t = (t + step[1] + n) % n;
      Plotly.relayout(div, { shapes: heatShapes(s, t) });
      read(s, t);
    };
    $("layer").onchange = drawHeat;
    $("plane-details").addEventListener("toggle", drawPlane);
  };

  // ---- map of two dimensions ---------------------------------------------------------------------------------------------
  const drawPlane = () => {
    if (!$("plane-details")?.open || !data.map) return;
    const few = data.map.names.length <= 45 && $("plane").clientWidth > 560;
    Plotly.react($("plane"), [{
      x: data.map.x, y: data.map.y, mode: few ? "markers+text" : "markers", type: "scatter",
      text: data.map.names.map((name) => escaped(shortened(name, 18))), textposition: "top center", textfont: { size: 10 },
      customdata: data.map.names.map(escaped), hovertemplate: "<b>%{customdata}</b><extra></extra>",
      marker: { size: 9, color: data.map.hardness, colorscale: "Cividis", line: { color: css("--card"), width: 1 }, colorbar: { title: { text: "hardness", side: "right" }, thickness: 10 } },
    }], layout({ xaxis: { showticklabels: false }, yaxis: { showticklabels: false, scaleanchor: "x" } }), config);
  };

  // ---- start ---------------------------------------------------------------------------------------------------------------
  const loadPlotly = async () => {
    const bytes = Uint8Array.from(atob($("plotly").textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  };
  const draw = () => { startScatter(); startHardness(); startHeat(); startPanels(); };
  const redraw = () => {
    if (!window.Plotly) return;
    if ($("scatter")) drawScatter();
    if ($("hardness-chart")) drawHardness();
    if ($("heat")) drawHeat();
    drawPlane();
    if ($("panels")) drawPanels();
  };
  const setTheme = (theme) => { root.dataset.theme = theme; redraw(); };
  $("theme").onclick = () => setTheme(root.dataset.theme === "dark" ? "light" : "dark");
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));
  loadPlotly().then(draw).then(() => { root.dataset.charts = "ready"; }).catch((error) => {
    $("no-charts").hidden = false;
    root.dataset.charts = "failed";
    console.error(error);
  });
})();
