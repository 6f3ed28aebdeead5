// The picture that can be pointed at: plotly.js draws the points that the page brings along.
"use strict";

const AXES = {
  latency: { title: "milliseconds for the median question", log: true, best: "least" },
  index_bytes: { title: "index bytes", log: true, best: "least" },
  bytes_per_document: { title: "index bytes a document", log: true, best: "least" },
  queries_per_second: { title: "questions a second, asked together", log: true, best: "most" },
};
const TIMES = ["latency", "queries_per_second"];
const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "x"];
const ANY = "any machine";
const MOST_PANELS = 6;

function picture(known) {
  const form = document.querySelector("#lively form");
  const plot = document.getElementById("plot");
  const told = document.querySelector("#lively [data-told]");
  const names = Object.keys(known);
  const families = [...new Set(Object.values(known).flatMap((one) => one.points.map((point) => point.family)))].sort();
  // by place, as a name that is shown may be cut
  [...form.elements.dataset.options].forEach((option, place) => { option.value = String(place); });

  function colours() {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(["ink", "soft", "line", "sheet", "mark", "tied"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  function machines(points) {
    const counts = new Map();
    points.forEach((point) => { if (point.latency) counts.set(point.machine, (counts.get(point.machine) ?? 0) + 1); });
    return [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
  }

  function fill() {
    const points = known[names[Number(form.elements.dataset.value)]].points;
    form.elements.machine.replaceChildren(...[...machines(points), ANY].map((name) => new Option(name, name)));
  }

  // what no other beats or equals in both
  function front(points, x) {
    const sign = AXES[x].best === "least" ? 1 : -1;
    const found = [];
    [...points].sort((a, b) => sign * (a[x] - b[x]) || b.quality - a.quality).forEach((point) => {
      if (!found.length || point.quality > found.at(-1).quality) found.push(point);
    });
    return found;
  }

  function shown(points, x) {
    // times are compared on one machine only: side by side, on the one that most of a dataset's systems ran on
    const machine = form.elements.view.value === "one" ? form.elements.machine.value : machines(points)[0] ?? ANY;
    const timed = TIMES.includes(x) && machine !== ANY;
    return points.filter((point) => point[x] > 0 && (!timed || point.machine === machine));
  }

  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const sized = (bytes) => {
    if (bytes === null) return "–";
    for (const [unit, name] of [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
      if (bytes >= unit) return `${(bytes / unit).toPrecision(3)} ${name}`;
    }
    return `${bytes} B`;
  };
  const timed = (ms) => (ms === null ? "–" : `${ms.toPrecision(3)} ms`);

  // 1, 2 and 5 times powers of ten, or powers alone if those were many
  function ticks(values) {
    const low = Math.floor(Math.log10(Math.min(...values))), high = Math.ceil(Math.log10(Math.max(...values)));
    const found = [];
    for (let power = low; power <= high; power += 1) (high - low > 3 ? [1] : [1, 2, 5]).forEach((times) => found.push(times * 10 ** power));
    return found;
  }
  const counted = (value) => {
    for (const [unit, name] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (value >= unit) return `${+(value / unit).toPrecision(3)}${name}`;
    return String(+value.toPrecision(3));
  };

  function traces(points, x, axis, has_legend, colour) {
    const area = form.elements.area.value;
    const biggest = Math.max(1e-9, ...points.map((point) => point[area] || 0));
    const best = front(points, x);
    const found = families.map((family, number) => {
      const own = points.filter((point) => point.family === family);
      own.sort((a, b) => best.includes(a) - best.includes(b)); // the front lies on top
      return {
        type: "scatter", mode: "markers", name: escaped(family), legendgroup: family, showlegend: has_legend && own.length > 0,
        x: own.map((point) => point[x]), y: own.map((point) => point.quality), xaxis: `x${axis}`, yaxis: `y${axis}`,
        customdata: own.map((point) => point.page),
        text: own.map((point) => `<b>${escaped(point.label)}</b><br>quality ${point.quality.toFixed(4)}<br>latency ${timed(point.latency)}<br>index ${sized(point.index_bytes)}<br>${escaped(point.machine)}`),
        hovertemplate: "%{text}<extra></extra>",
        marker: {
          symbol: SHAPES[number % SHAPES.length],
          size: own.map((point) => (area ? 8 + 18 * Math.sqrt((point[area] || 0) / biggest) : 11)),
          color: own.map((point) => (best.includes(point) ? colour.mark : colour.tied)),
          line: { color: colour.soft, width: 1 }, opacity: 0.9,
        },
      };
    });
    if (form.elements.lines.checked || form.elements.view.value === "all") {
      const joined = Map.groupBy ? Map.groupBy(points, (point) => JSON.stringify([point.name, point.search])) : new Map();
      joined.forEach((own) => {
        if (own.length < 2) return;
        own.sort((a, b) => a[x] - b[x]);
        found.unshift({
          type: "scatter", mode: "lines", x: own.map((point) => point[x]), y: own.map((point) => point.quality), hoverinfo: "skip",
          xaxis: `x${axis}`, yaxis: `y${axis}`, showlegend: false, line: { color: colour.soft, width: 1, dash: own[0].bits === 1 ? "dot" : "solid" },
        });
      });
    }
    const range = Math.max(...points.map((point) => point.quality)) - Math.min(...points.map((point) => point.quality));
    const named = []; // of the front, where names do not lie on each other
    if (form.elements.view.value === "one") {
      [...best].reverse().forEach((point) => {
        if (named.every((other) => Math.abs(other.quality - point.quality) > range * 0.05)) named.push(point);
      });
    }
    found.unshift({
      type: "scatter", mode: named.length ? "lines+text" : "lines", name: "front", textposition: "middle right",
      text: best.map((point) => (named.includes(point) ? `\u00a0\u00a0\u00a0\u00a0${escaped(point.label)}` : "")), legendgroup: "front", showlegend: has_legend, x: best.map((point) => point[x]), y: best.map((point) => point.quality),
      xaxis: `x${axis}`, yaxis: `y${axis}`, hoverinfo: "skip", line: { color: colour.mark, width: 2, dash: "dash" },
    });
    return found;
  }

  function axes(layout, axis, x, points, title, measure, domain, rows, colour) {
    const values = ticks(points.length ? points.map((point) => point[x]) : [1, 10]);
    const look = { gridcolor: colour.line, zeroline: false, linecolor: colour.line, automargin: true };
    layout[`xaxis${axis}`] = { ...look, type: AXES[x].log ? "log" : "linear", title: { text: AXES[x].title }, domain: domain.x, anchor: `y${axis}`, tickvals: values, ticktext: values.map(counted) };
    layout[`yaxis${axis}`] = { ...look, title: { text: escaped(measure) }, domain: domain.y, anchor: `x${axis}` };
    if (rows) layout.annotations.push({ text: escaped(title), xref: "paper", yref: "paper", x: domain.x[0], y: domain.y[1], xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: 13, color: colour.ink } });
  }

  function draw() {
    const colour = colours();
    const all = form.elements.view.value === "all";
    const x = form.elements.x.value;
    const chosen = all ? names.slice(0, MOST_PANELS) : [names[Number(form.elements.dataset.value)]];
    form.elements.dataset.disabled = form.elements.machine.disabled = all;
    const columns = all ? Math.min(chosen.length, plot.clientWidth > 900 ? 3 : plot.clientWidth > 560 ? 2 : 1) : 1;
    const lines = Math.ceil(chosen.length / columns);
    const layout = {
      paper_bgcolor: colour.sheet, plot_bgcolor: colour.sheet, font: { family: "system-ui, sans-serif", color: colour.ink, size: 12 },
      margin: { l: 60, r: 20, t: 36, b: 56 }, height: all ? Math.max(460, 320 * lines) : 520, legend: { orientation: "h", y: 1.12, yanchor: "bottom" }, annotations: [],
      hovermode: "closest", hoverlabel: { align: "left" }, transition: { duration: 0 },
    };
    if (!all) layout.legend = { orientation: "h", y: 1.02, yanchor: "bottom" };
    let data = [];
    let count = 0;
    chosen.forEach((name, place) => {
      const axis = place ? String(place + 1) : "";
      const column = place % columns, row = Math.floor(place / columns);
      const width = 1 / columns, height = 1 / lines;
      const domain = { x: [column * width + (column ? 0.06 : 0), (column + 1) * width - 0.01], y: [1 - (row + 1) * height + (lines > 1 ? 0.28 / lines : 0), 1 - row * height - (all ? 0.03 : 0)] };
      const points = shown(known[name].points, x);
      count += points.length;
      data = data.concat(traces(points, x, axis, place === 0, colour));
      axes(layout, axis, x, points, name, known[name].measure, domain, all, colour);
    });
    Plotly.purge(plot); // a picture of other axes than the last one's
    Plotly.newPlot(plot, data, layout, { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"], showSendToCloud: false });
    plot.on("plotly_click", (event) => { if (event.points[0].customdata) location.href = event.points[0].customdata; });
    told.textContent = `${count.toLocaleString("en")} records${all && names.length > MOST_PANELS ? `, the first ${MOST_PANELS} datasets` : ""}`;
    if (all) return list([], chosen[0]);
    return list(front(shown(known[chosen[0]].points, x), x), chosen[0]);
  }

  function list(points, name) {
    const table = document.getElementById("front");
    table.closest(".scroll").hidden = points.length === 0;
    table.querySelector("thead th:nth-child(2)").textContent = known[name].measure;
    table.tBodies[0].replaceChildren(...points.map((point) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      const link = document.createElement("a");
      link.href = point.page;
      link.textContent = point.label;
      head.append(link);
      row.append(head);
      [point.quality.toFixed(4), timed(point.latency), sized(point.index_bytes), point.family].forEach((text, place) => {
        const cell = row.insertCell();
        cell.textContent = text;
        if (place < 3) cell.className = "number";
      });
      return row;
    }));
  }

  document.getElementById("lively").hidden = false;
  document.getElementById("still").hidden = true;
  fill();
  draw();
  form.addEventListener("input", (event) => { if (event.target.name === "dataset") fill(); draw(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
}

// without the library, or with nothing to draw, the drawings stay
const points = JSON.parse(document.getElementById("points").textContent);
if (typeof Plotly !== "undefined" && Object.keys(points).length) picture(points);
