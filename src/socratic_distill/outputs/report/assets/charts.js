// Curves: one figure a chart, a line with its band for each run, evaluations as marks. Drawn anew at each width.
const DASHES = ["", "7 4", "2 3", "9 3 2 3", "12 3", "4 2"];
const LEFT = 52, RIGHT = 12, TOP = 10, BOTTOM = 40, HEIGHT = 230;
const LAST = Math.max(1, ...DATA.runs.flatMap((run) => [...run.curves.to, ...run.evaluations.at]));

function pointsOf(source, key, at) {
  const series = source.series[key];
  if (!series) return [];
  const end = (name, i) => (series[name] ? series[name][i] : null);
  return series.v.map((v, i) => ({ ...at(i), v, low: end("l", i), high: end("h", i) }));
}

function runsOf(key) {
  return DATA.runs.map((run, place) => ({
    place,
    name: run.name,
    trained: pointsOf(run.curves, key, (i) => {
      const from = run.curves.from[i], to = run.curves.to[i];
      return { x: (from + to) / 2, when: from === to ? `step ${from}` : `steps ${from}–${to}` };
    }),
    evaluated: pointsOf(run.evaluations, key, (i) => ({
      x: run.evaluations.at[i], when: `evaluation at batch ${run.evaluations.at[i]}`,
    })).filter((point) => point.v !== null),
  }));
}

const hasValues = (key) => runsOf(key).some((run) => [...run.trained, ...run.evaluated].some((point) => point.v !== null));

function ticks(low, high, most) {
  const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999);
  const first = Math.floor(low / step + 1e-9), last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// Unbroken stretches of points that have what is drawn.
function stretches(points, has) {
  const found = [[]];
  for (const point of points) has(point) ? found.at(-1).push(point) : found.push([]);
  return found.filter((one) => one.length);
}

function drawRun(run, x, y) {
  const at = (px, py) => `${x(px).toFixed(1)},${y(py).toFixed(1)}`;
  const parts = [];
  for (const each of stretches(run.trained, (point) => point.low !== null && point.high !== null)) {
    const ring = [...each.map((p) => at(p.x, p.high)), ...each.toReversed().map((p) => at(p.x, p.low))];
    parts.push(draw("polygon", { class: "band", points: ring.join(" ") }));
  }
  for (const each of stretches(run.trained, (point) => point.v !== null)) {
    const line = each.map((p) => at(p.x, p.v)).join(" ");
    parts.push(each.length > 1
      ? draw("polyline", { class: "line", points: line, "stroke-dasharray": DASHES[run.place % DASHES.length] })
      : draw("circle", { class: "dot", cx: x(each[0].x), cy: y(each[0].v), r: 3 }));
  }
  for (const p of run.evaluated) {
    if (p.low !== null && p.high !== null)
      parts.push(draw("line", { class: "bar", x1: x(p.x), x2: x(p.x), y1: y(p.low), y2: y(p.high) }));
    const cx = x(p.x), cy = y(p.v);
    parts.push(draw("path", { class: "mark", d: `M${cx},${cy - 6}L${cx + 5},${cy}L${cx},${cy + 6}L${cx - 5},${cy}Z` }));
  }
  return draw("g", { class: `run-${run.place % 6}` }, parts);
}

function told(point, show) {
  const band = point.low === null || point.low === undefined || point.high === null ? "" : ` [${figure(point.low, show.share)}, ${figure(point.high, show.share)}]`;
  return point.v === null ? "no value" : figure(point.v, show.share) + band;
}

function plot(show, title, width) {
  const runs = runsOf(show.key);
  const values = runs.flatMap((run) => [...run.trained, ...run.evaluated]).flatMap((p) => [p.v, p.low, p.high]).filter((v) => v !== null);
  const ys = show.share && Math.min(...values) >= 0 ? [0, 0.25, 0.5, 0.75, 1] : ticks(Math.min(0, ...values), Math.max(...values, 0) || 1, 4);
  const x = (value) => LEFT + (value / LAST) * (width - LEFT - RIGHT);
  const y = (value) => TOP + ((ys.at(-1) - value) / (ys.at(-1) - ys[0])) * (HEIGHT - TOP - BOTTOM);
  const grid = ys.flatMap((value) => [
    draw("line", { class: value === 0 && ys[0] < 0 ? "axis zero" : "axis", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
    draw("text", { x: LEFT - 7, y: y(value) + 4, "text-anchor": "end" }, show.share ? `${minus(String(Math.round(100 * value)))} %` : minus(String(value))),
  ]);
  const steps = ticks(0, LAST, Math.max(2, width / 90)).filter((value) => value <= LAST && Number.isInteger(value))
    .map((value) => draw("text", { x: x(value), y: HEIGHT - BOTTOM + 17, "text-anchor": "middle" }, String(value)));
  const label = draw("text", { x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 5, "text-anchor": "middle" }, "step");
  const cursor = draw("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  const svg = draw("svg", { class: "plot", viewBox: `0 0 ${width} ${HEIGHT}`, tabindex: 0, role: "img", "aria-label": summary(runs, show, title) },
    grid, steps, label, runs.map((run) => drawRun(run, x, y)), cursor);
  follow(svg, cursor, runs, show, x, width);
  return svg;
}

function summary(runs, show, title) {
  const parts = runs.map((run) => {
    const known = (run.trained.some((p) => p.v !== null) ? run.trained : run.evaluated).filter((p) => p.v !== null);
    if (!known.length) return `${run.name}: nothing`;
    const [first, last] = [known[0], known.at(-1)];
    return `${run.name}: ${told(first, show)} at ${first.when}, ${told(last, show)} at ${last.when}`;
  });
  return `${title}, ${show.axis}. ${parts.join(". ")}`;
}

// Pointer and arrow keys go from point to point; the values of all runs there are told.
function follow(svg, cursor, runs, show, x, width) {
  const places = [...new Set(runs.flatMap((run) => [...run.trained, ...run.evaluated]).filter((p) => p.v !== null).map((p) => p.x))].sort((a, b) => a - b);
  let current = -1;
  const leave = () => { hideTip(); cursor.setAttribute("visibility", "hidden"); };
  const go = (place, aloud) => {
    current = place;
    const px = x(places[place]);
    for (const name of ["x1", "x2"]) cursor.setAttribute(name, px);
    cursor.setAttribute("visibility", "visible");
    const here = runs.flatMap((run) => [...run.trained, ...run.evaluated].filter((p) => p.x === places[place]).map((p) => ({ run, p })));
    const lines = here.map(({ run, p }) => `${DATA.runs.length > 1 ? `${run.name}, ` : ""}${p.when}: ${told(p, show)}`);
    const frame = svg.getBoundingClientRect(), scale = frame.width / width;
    showTip([show.axis, ...lines], { left: frame.left + px * scale, width: 0, top: frame.top + TOP, bottom: frame.bottom });
    if (aloud) say(lines.join("; "));
  };
  svg.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect(), px = ((event.clientX - frame.left) / frame.width) * width;
    go(places.reduce((best, value, i) => (Math.abs(x(value) - px) < Math.abs(x(places[best]) - px) ? i : best), 0), false);
  });
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("blur", leave);
  svg.addEventListener("keydown", (event) => {
    const place = rove(places, current, event.key);
    if (event.key === "Escape") leave();
    if (place === null) return;
    event.preventDefault();
    go(place, true);
  });
}

function chartOf(chart, shared) {
  const whole = chart.shows.filter((show) => hasValues(show.key));
  const shows = whole.length ? whole : chart.shows.slice(0, 1);
  const space = el("div");
  let show = shows.find((one) => chart.shared && one.label === "5") || shows[0];
  const select = shows.length > 1
    ? el("select", { onchange: () => (chart.shared ? shared.set(select.value) : pick(select.value)) }, shows.map((one) => el("option", { selected: one === show }, one.label)))
    : null;
  const pick = (label) => {
    const found = shows.find((one) => one.label === label);
    if (!found) return;
    show = found;
    if (select) select.value = label;
    redraw();
  };
  const redraw = () => {
    const width = Math.max(260, Math.round(space.clientWidth || 520));
    space.replaceChildren(whole.length ? plot(show, chart.title, width) : el("p", { class: "empty missing" }, "Nothing to draw: no step has this figure."));
    unit.textContent = whole.length ? show.axis : "";
  };
  const unit = el("small");
  if (chart.shared) shared.add(pick);
  const caption = el("figcaption", {}, el("span", {}, chart.title, unit), select ? el("label", {}, chart.choice, select) : null);
  return { node: el("figure", {}, caption, space, chart.note ? el("p", { class: "note" }, chart.note) : null), redraw };
}

function showCharts() {
  const followers = [];
  const shared = { add: (pick) => followers.push(pick), set: (label) => followers.forEach((pick) => pick(label)) };
  const charts = DATA.charts.map((chart) => chartOf(chart, shared));
  document.getElementById("charts").append(...charts.map((chart) => chart.node));
  if (DATA.runs.length > 1) {
    document.getElementById("legend").append(...DATA.runs.map((run, place) => el("span", { class: `run-${place % 6}` },
      draw("svg", { class: "plot", viewBox: "0 0 34 10", "aria-hidden": "true" }, draw("line", { class: "line", x1: 0, x2: 34, y1: 5, y2: 5, "stroke-dasharray": DASHES[place % DASHES.length] })),
      el("bdi", {}, run.name))));
  }
  onWidth(document.getElementById("charts"), () => charts.forEach((chart) => chart.redraw()));
}
