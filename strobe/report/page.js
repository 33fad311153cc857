// Draws the report's charts from the JSON in the page, and wires its few controls.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("charts").textContent);
  const root = document.documentElement;
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const byId = (id) => document.getElementById(id);
  const state = { axis: "steps", smoothing: Number(byId("smoothing")?.value ?? 0), log: false, hidden: new Set(), ranges: {} };

  // Text that the plotting library would read as markup stays text.
  const plain = (text) => String(text)
    .replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const shorten = (text, most) => text.length > most ? text.slice(0, most - 1) + "…" : text;

  // ---- light and dark
  const system = matchMedia("(prefers-color-scheme: dark)");
  const stored = () => { try { return localStorage.getItem("strobe-theme"); } catch { return null; } };
  const store = (value) => { try { localStorage.setItem("strobe-theme", value); } catch { /* a file without storage */ } };
  let wanted = ["light", "dark"].includes(stored()) ? stored() : "auto";
  const applyTheme = () => {
    const dark = wanted === "dark" || (wanted === "auto" && system.matches);
    root.dataset.theme = dark ? "dark" : "light";
    byId("theme").textContent = "Theme: " + wanted;
  };
  const colour = (name) => getComputedStyle(root).getPropertyValue("--" + name).trim();
  const groupColour = (group) => colour("c" + group % 8);
  const symbols = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "pentagon"];
  const dashes = ["solid", "dash", "dot", "dashdot"];  // beyond eight groups colours come again

  const axisStyle = (title) => ({
    title: { text: title, font: { size: 12 }, standoff: 8 },
    gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("line"),
    tickfont: { size: 11.5 }, automargin: true, autotickangles: [0, -30, -90], tickcolor: colour("line"),
  });
  const layout = (title, more) => ({
    title: { text: title, font: { size: 13.5, color: colour("ink") }, x: 0, xref: "container", xanchor: "left", y: 0.985, yanchor: "top" },
    paper_bgcolor: colour("paper"), plot_bgcolor: colour("paper"),
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("soft") },
    margin: { l: 52, r: 12, t: 34, b: 42 }, showlegend: false, hovermode: "closest",
    hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("line"), font: { color: colour("ink"), size: 12.5 }, namelength: 60 },
    ...more,
  });
  const options = {
    responsive: true, displaylogo: false, displayModeBar: "hover",
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  };
  const draw = (element, traces, plotLayout, more) =>
    Plotly.react(element, traces, plotLayout, { ...options, ...more });

  // ---- curves
  const axisTitles = { steps: "steps", tokens: "training tokens", seconds: "seconds of training" };
  const smooth = (values, weight) => {
    if (weight === 0) return values;
    let sum = 0, total = 0;
    return values.map((value) => {
      if (value === null) return null;
      sum = weight * sum + (1 - weight) * value;
      total = weight * total + (1 - weight);
      return sum / total;
    });
  };
  const smoothed = new Set(["training", "norm", "speed"]);
  const curveTraces = (panel) => {
    const dotted = ["validation", "error"].includes(panel.id);
    // Behind the smoothed line of a single run, faint, what was logged.
    const raw = state.smoothing === 0 || !smoothed.has(panel.id) ? []
      : panel.lines.filter((line) => line.kind === "run").map((line) => ({
        type: "scatter", mode: "lines", x: line[state.axis], y: line.y,
        visible: !state.hidden.has(line.group), opacity: 0.25, hoverinfo: "skip",
        line: { color: groupColour(line.group), width: 1 },
      }));
    // The interval of a mean, as a band.
    const rgba = (hex) => `rgba(${[1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)).join(",")},0.16)`;
    const bands = panel.lines.filter((line) => line.low).map((line) => ({
      type: "scatter", mode: "lines", x: [...line[state.axis], ...[...line[state.axis]].reverse()], y: [...line.high, ...[...line.low].reverse()],
      fill: "toself", fillcolor: rgba(groupColour(line.group)), line: { width: 0 }, hoverinfo: "skip",
      visible: !state.hidden.has(line.group),
    }));
    const traces = panel.lines.map((line) => {
      const seed = line.kind === "seed";
      const ys = smoothed.has(panel.id) ? smooth(line.y, state.smoothing) : line.y;
      return {
        type: "scatter", mode: dotted && !seed || line.y.length === 1 ? "lines+markers" : "lines",
        x: line[state.axis], y: ys, name: plain(line.name),
        visible: !state.hidden.has(line.group),
        opacity: seed ? 0.35 : 1,
        line: { color: groupColour(line.group), width: seed ? 1 : line.kind === "mean" ? 2.4 : 1.6, dash: dashes[Math.floor(line.group / 8) % 4] },
        marker: { color: groupColour(line.group), symbol: symbols[line.group % 8], size: 6 },
        hovertemplate: "%{fullData.name}<br>%{x:,.6~g} " + axisTitles[state.axis] + "<br><b>%{y:.5~g}</b><extra></extra>",
      };
    });
    return [...bands, ...raw, ...traces];
  };
  const markShapes = (panel) => panel.marks.map((mark) => ({
    type: "line", xref: "paper", x0: 0, x1: 1, y0: mark.y, y1: mark.y,
    line: { color: colour("soft"), width: 1, dash: "dot" },
    label: { text: mark.name, textposition: "end", font: { size: 11, color: colour("soft") }, yanchor: "bottom" },
  }));
  const curveLayout = (panel) => {
    const x = { ...axisStyle(axisTitles[state.axis]), type: state.log ? "log" : "linear" };
    if (state.ranges.x) x.range = state.ranges.x.slice();
    const y = axisStyle(panel.unit);
    if (!["validation", "error", "training"].includes(panel.id)) y.rangemode = "tozero";
    if (panel.marks.length) {  // shapes take no part in the range: room for the lines and their labels
      const ys = [...panel.lines.flatMap((line) => line.y), ...panel.marks.map((mark) => mark.y)].filter((v) => v !== null);
      const low = Math.min(...ys), high = Math.max(...ys);
      y.autorangeoptions = { include: [low, high + 0.08 * (high - low)] };
    }
    if (panel.id === "lr") y.exponentformat = "power";
    return layout(panel.title, { xaxis: x, yaxis: y, shapes: markShapes(panel), uirevision: state.axis + state.log });
  };
  const panels = () => data.curves.map((panel) => [panel, byId("panel-" + panel.id)]);
  const drawCurves = () => {
    for (const [panel, element] of panels())
      if (element) draw(element, curveTraces(panel), curveLayout(panel));
  };
  // A zoom along x in one panel is a zoom in all.
  let following = false;
  const follow = (event) => {
    if (following) return;
    let range;
    if (event["xaxis.autorange"]) range = null;
    else if ("xaxis.range[0]" in event) range = [event["xaxis.range[0]"], event["xaxis.range[1]"]];
    else if ("xaxis.range" in event) range = event["xaxis.range"];
    else return;
    state.ranges.x = range ?? undefined;
    following = true;
    Promise.all(panels().map(([, element]) =>
      element && Plotly.relayout(element, range ? { "xaxis.range": range.slice() } : { "xaxis.autorange": true })))
      .finally(() => { following = false; });
  };

  const makeCurves = () => {
    const frame = byId("curves");
    if (!frame) return;
    for (const panel of data.curves) {
      const element = document.createElement("div");
      element.id = "panel-" + panel.id;
      element.className = "chart" + (["validation", "error", "training"].includes(panel.id) ? " wide" : "");
      frame.append(element);
    }
    drawCurves();
    for (const [, element] of panels()) element.on("plotly_relayout", follow);

    data.groups.forEach((name, group) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-pressed", "true");
      button.title = name;
      const label = document.createElement("span");
      label.textContent = name;
      button.append(label);
      button.style.setProperty("--swatch", `var(--c${group % 8})`);
      button.addEventListener("click", () => {
        state.hidden.has(group) ? state.hidden.delete(group) : state.hidden.add(group);
        button.setAttribute("aria-pressed", String(!state.hidden.has(group)));
        drawCurves();
      });
      byId("legend").append(button);
    });
    for (const button of all("#axis button"))
      button.addEventListener("click", () => {
        state.axis = button.dataset.axis;
        state.ranges = {};
        for (const other of all("#axis button")) other.setAttribute("aria-pressed", String(other === button));
        drawCurves();
      });
    byId("smoothing").addEventListener("input", (event) => { state.smoothing = Number(event.target.value); drawCurves(); });
    byId("log").addEventListener("change", (event) => { state.log = event.target.checked; state.ranges = {}; drawCurves(); });
  };

  // ---- memory by part
  const drawMemory = () => {
    const element = byId("memory");
    if (!element) return;
    if (data.memory.length === 0) return element.remove();
    const most = 7;
    const totals = new Map();
    for (const bar of data.memory)
      for (const part of bar.parts) totals.set(part.name, (totals.get(part.name) ?? 0) + part.bytes);
    const names = [...totals.keys()].sort((a, b) => totals.get(b) - totals.get(a));
    const shown = names.slice(0, names.length > most + 1 ? most : names.length);
    const rows = data.memory.map((bar) => shorten(plain(bar.name), 34));
    const sizes = (bar, wantedNames) => bar.parts.filter((part) => wantedNames.includes(part.name))
      .reduce((sum, part) => sum + part.bytes, 0) / 1e6;
    const trace = (name, members, index) => ({
      type: "bar", orientation: "h", name: plain(shorten(name, 40)), y: rows.map((_, i) => i),
      x: data.memory.map((bar) => sizes(bar, members)),
      marker: { color: colour("m" + index), line: { color: colour("paper"), width: 1 } },
      hovertemplate: "%{fullData.name}<br><b>%{x:,.4~g} MB</b><extra></extra>",
    });
    const traces = shown.map((name, i) => trace(name, [name], i));
    const rest = names.slice(shown.length);
    if (rest.length) traces.push(trace(`${rest.length} smaller parts`, rest, 7));
    const height = 90 + 34 * rows.length + 22 * Math.ceil(traces.length / 4);
    element.style.height = height + "px";
    draw(element, traces, layout("", {
      barmode: "stack", showlegend: true, height,
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, font: { size: 12 }, traceorder: "normal" },
      margin: { l: 10, r: 12, t: 10, b: 42 }, bargap: 0.35,
      xaxis: axisStyle("MB, planned"),
      yaxis: { ...axisStyle(""), tickvals: rows.map((_, i) => i), ticktext: rows, autorange: "reversed", showgrid: false, zeroline: false },
    }), { displayModeBar: false });
  };

  // ---- effects and outcomes of a study
  const drawEffects = () => {
    const element = byId("effects");
    if (!element) return;
    if (data.effects.length === 0) return element.remove();
    const at = data.effects.map((_, i) => i);
    const shade = data.effects.map((effect) => effect.resolved ? colour("c0") : colour("soft"));
    const traces = data.effects.map((effect, i) => ({
      type: "scatter", mode: "markers", x: [effect.estimate], y: [i], name: plain(effect.name),
      error_x: {
        type: "data", symmetric: false, array: [effect.high - effect.estimate],
        arrayminus: [effect.estimate - effect.low], color: shade[i], thickness: 2, width: 5,
      },
      marker: { color: effect.resolved ? shade[i] : colour("paper"), size: 8, line: { color: shade[i], width: 2 } },
      customdata: [[effect.low, effect.high]],
      hovertemplate: "%{fullData.name}<br><b>%{x:.4f}</b> (%{customdata[0]:.4f} to %{customdata[1]:.4f})<extra></extra>",
    }));
    draw(element, traces, layout(`Effects on the ${data.outcome.noun}, 95 % intervals`, {
      xaxis: { ...axisStyle(`${data.outcome.unit} (left: less)`), zeroline: true, zerolinecolor: colour("ink"), rangemode: "tozero" },
      yaxis: { ...axisStyle(""), tickvals: at, ticktext: data.effects.map((effect) => plain(shorten(effect.name, 42))), range: [at.length - 0.5, -0.5], showgrid: false, zeroline: false },
      margin: { l: 10, r: 12, t: 34, b: 42 },
    }));
  };
  const drawCells = () => {
    const element = byId("cells");
    if (!element) return;
    if (data.cells.length === 0) return element.remove();
    const seeds = [...new Set(data.cells.flatMap((cell) => cell.runs.map((run) => run.seed)))];
    const traces = seeds.map((seed) => ({
      type: "scatter", mode: "lines", x: data.cells.map((_, i) => i),
      y: data.cells.map((cell) => cell.runs.find((run) => run.seed === seed)?.loss ?? null),
      line: { color: colour("line"), width: 1 }, hoverinfo: "skip", connectgaps: false,
    }));
    data.cells.forEach((cell, i) => {
      traces.push({
        type: "scatter", mode: "markers", x: cell.runs.map(() => i), y: cell.runs.map((run) => run.loss),
        text: cell.runs.map((run) => "seed " + run.seed), name: plain(cell.name),
        marker: { color: groupColour(cell.group), size: 8, opacity: 0.75, symbol: symbols[cell.group % 8] },
        hovertemplate: "%{fullData.name}, %{text}<br><b>%{y:.4f}</b><extra></extra>",
      });
      traces.push({
        type: "scatter", mode: "lines", x: [i - 0.22, i + 0.22], y: [cell.mean, cell.mean], name: plain(cell.name),
        line: { color: groupColour(cell.group), width: 3 }, hovertemplate: "mean of %{fullData.name}<br><b>%{y:.4f}</b><extra></extra>",
      });
    });
    draw(element, traces, layout(`${data.outcome.noun[0].toUpperCase() + data.outcome.noun.slice(1)} at the end, run by run`, {
      xaxis: { ...axisStyle(""), tickvals: data.cells.map((_, i) => i), ticktext: data.cells.map((cell) => plain(shorten(cell.name, 26))), showgrid: false, zeroline: false, range: [-0.5, data.cells.length - 0.5] },
      yaxis: axisStyle(data.outcome.unit),
    }));
  };

  // ---- points, lines and bars over two axes
  const plotAxis = (axis, more) => ({
    ...axisStyle(axis.title), type: axis.log ? "log" : "linear", ...(axis.log ? { exponentformat: "power", dtick: "D2" } : {}), ...more,
    ...(axis.labels.length ? { tickvals: axis.labels.map((_, i) => i), ticktext: axis.labels.map((label) => plain(shorten(label, 28))), zeroline: false } : {}),
  });
  const plotTrace = (trace) => {
    const shade = trace.colour < 0 ? colour("soft") : groupColour(trace.colour);
    const common = { name: plain(trace.name), x: trace.x, y: trace.y, text: trace.text.map(plain),
      hovertemplate: "%{fullData.name}" + (trace.text.length ? "<br>%{text}" : "") + "<br><b>%{y:.5~g}</b> at %{x:.5~g}<extra></extra>" };
    if (trace.mode === "bars") return { ...common, type: "bar", orientation: "h", marker: { color: shade } };
    if (trace.mode === "markers")
      return { ...common, type: "scatter", mode: "markers", marker: { color: shade, size: 9, opacity: 0.85, symbol: trace.symbol === "circle" && trace.colour > 0 ? symbols[trace.colour % 8] : trace.symbol } };
    return { ...common, type: "scatter", mode: "lines+markers", line: { color: shade, width: trace.colour < 0 ? 1.2 : 2, shape: trace.mode === "steps" ? "hv" : "linear" }, marker: { color: shade, size: 5 } };
  };
  const drawPlots = () => {
    for (const plot of data.plots) {
      const element = document.querySelector(`[data-plot="${plot.id}"]`);
      if (!element) continue;
      const several = plot.traces.length > 1;
      draw(element, plot.traces.map(plotTrace), layout(plain(plot.title), {
        xaxis: plotAxis(plot.x), yaxis: plotAxis(plot.y), showlegend: several,
        legend: { orientation: "h", y: -0.2, yanchor: "top", x: 0, font: { size: 11 } },
      }));
    }
  };
  // Parallel coordinates of a search: a line a trial, from axis to axis, each from its least to its
  // greatest value. (Lines rather than the library's own, which need WebGL.)
  const drawParallel = () => {
    const element = byId("parallel");
    if (!element) return;
    if (!data.parallel) return element.remove();
    const { values, outcome } = data.parallel;
    const dimensions = [...data.parallel.dimensions.filter((d) => d.values.some((v) => v !== null)), { name: outcome, log: false, labels: [], values }];
    const axes = dimensions.map((d) => {
      const scale = (v) => d.log ? Math.log(v) : v;
      const there = d.values.filter((v) => v !== null);
      const low = d.labels.length ? 0 : Math.min(...there), high = d.labels.length ? d.labels.length - 1 : Math.max(...there);
      const at = (v) => v === null ? null : scale(high) > scale(low) ? (scale(v) - scale(low)) / (scale(high) - scale(low)) : 0.5;
      const short = (v) => Number(v.toPrecision(3)).toString();
      const ticks = d.labels.length ? d.labels.map((label, i) => [at(i), label]) : [[0, short(low)], [1, short(high)]];
      return { at, ticks, show: (v) => v === null ? "—" : d.labels.length ? d.labels[v] : short(v) };
    });
    const order = values.map((_, i) => i).sort((a, b) => values[b] - values[a]);
    const best = new Set(order.slice(-Math.max(1, Math.ceil(order.length / 10))));
    const traces = order.map((i) => ({
      type: "scatter", mode: "lines", x: dimensions.map((_, d) => d), y: dimensions.map((d, k) => axes[k].at(d.values[i])),
      connectgaps: true, line: { color: colour(best.has(i) ? "c1" : "c0"), width: best.has(i) ? 2 : 1 }, opacity: best.has(i) ? 0.95 : 0.3,
      name: plain(dimensions.map((d, k) => `${d.name} ${axes[k].show(d.values[i])}`).join("\n")).replaceAll("\n", "<br>"), hovertemplate: "%{fullData.name}<extra></extra>",
    }));
    const shapes = dimensions.map((_, d) => ({ type: "line", x0: d, x1: d, y0: 0, y1: 1, line: { color: colour("soft"), width: 1 } }));
    const annotations = dimensions.flatMap((_, d) => axes[d].ticks.map(([y, text]) => ({
      x: d, y, text: plain(shorten(text, 14)), showarrow: false, xanchor: "left", xshift: 4, font: { size: 11, color: colour("ink") }, bgcolor: colour("paper"), opacity: 0.9,
    })));
    draw(element, traces, layout("Trials, the best tenth of them in another colour", {
      shapes, annotations, height: 340, hovermode: "closest",
      xaxis: { ...axisStyle(""), tickvals: dimensions.map((_, d) => d), ticktext: dimensions.map((d) => plain(shorten(d.name, 26))), range: [-0.15, dimensions.length - 0.55], showgrid: false, zeroline: false },
      yaxis: { visible: false, range: [-0.06, 1.06] },
    }));
  };

  // ---- the rest of the page
  const wirePage = () => {
    const nav = document.querySelector("nav");
    for (const section of all("section")) {
      const link = document.createElement("a");
      link.href = "#" + section.id;
      link.textContent = section.querySelector("h2").textContent;
      nav.append(link);
    }
    for (const button of all("button.all"))
      button.addEventListener("click", () => {
        const table = button.closest("section").querySelector("table.compare");
        const everything = table.classList.toggle("everything");
        button.setAttribute("aria-pressed", String(everything));
        button.textContent = everything ? "Show differences only" : "Show all";
      });
    byId("theme").addEventListener("click", () => {
      wanted = { auto: system.matches ? "light" : "dark", light: "dark", dark: "light" }[wanted];
      store(wanted);
      redraw();
    });
    system.addEventListener("change", redraw);
  };
  const drawRest = () => { drawMemory(); drawEffects(); drawCells(); drawPlots(); drawParallel(); };
  const redraw = () => { applyTheme(); drawCurves(); drawRest(); };

  applyTheme();
  wirePage();
  drawRest();
  makeCurves();
})();
