// Seconds by phase: for each run a bar a step, in the colours of what the step waited for. All runs share one scale.
const PHASE_HEIGHT = 210;

const seconds = (value) => `${value >= 100 ? Math.round(value).toLocaleString("en") : value >= 1 ? value.toFixed(1) : figure(value, false)} s`;

function phaseBars(run, place, top, width) {
  const { from, to, waited, rows } = run.phases;
  const ys = ticks(0, top, 4);
  const y = (value) => TOP + (1 - value / ys.at(-1)) * (PHASE_HEIGHT - TOP - BOTTOM);
  const slot = (width - LEFT - RIGHT) / from.length, gap = Math.min(6, slot * 0.2), bar = Math.min(slot - gap, 46);
  const middle = (i) => LEFT + slot * (i + 0.5);
  const grid = ys.flatMap((value) => [
    draw("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
    draw("text", { x: LEFT - 7, y: y(value) + 4, "text-anchor": "end" }, String(value)),
  ]);
  const every = Math.ceil(from.length / Math.max(2, width / 60));
  const names = from.flatMap((step, i) => (i % every ? [] : [draw("text", { x: middle(i), y: PHASE_HEIGHT - BOTTOM + 17, "text-anchor": "middle" }, String(step))]));
  const label = draw("text", { x: (LEFT + width - RIGHT) / 2, y: PHASE_HEIGHT - 5, "text-anchor": "middle" }, "step");
  const bars = from.map((_, i) => {
    let sum = 0;
    return draw("g", {}, rows.map(({ name }) => {
      const low = y(sum), high = y((sum += waited[name][i]));
      return draw("rect", { class: `phase-${name}`, x: middle(i) - bar / 2, y: high, width: bar, height: Math.max(0, low - high) });
    }));
  });
  const when = (i) => (from[i] === to[i] ? `step ${from[i]}` : `steps ${from[i]}–${to[i]}, mean`);
  const whole = (i) => rows.reduce((sum, { name }) => sum + waited[name][i], 0);
  const svg = draw("svg", { class: "plot bars", viewBox: `0 0 ${width} ${PHASE_HEIGHT}`, tabindex: 0, role: "img", "aria-label": `Seconds by phase of ${run.name}, a bar a step` }, grid, bars, names, label);
  let current = -1;
  const go = (i, aloud) => {
    bars[current]?.classList.remove("current");
    bars[(current = i)].classList.add("current");
    const lines = [`${when(i)}: ${seconds(whole(i))}`, ...rows.filter(({ name }) => waited[name][i] > 0).map(({ name, label }) => `${label}: ${seconds(waited[name][i])}`).reverse()];
    const frame = svg.getBoundingClientRect(), scale = frame.width / width;
    showTip(lines, { left: frame.left + middle(i) * scale, width: 0, top: frame.top + y(whole(i)) * scale, bottom: frame.bottom });
    if (aloud) say(lines.join("; "));
  };
  const leave = () => { hideTip(); bars[current]?.classList.remove("current"); };
  svg.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect(), px = ((event.clientX - frame.left) / frame.width) * width;
    go(Math.max(0, Math.min(from.length - 1, Math.floor((px - LEFT) / slot))), false);
  });
  for (const name of ["pointerleave", "blur"]) svg.addEventListener(name, leave);
  svg.addEventListener("keydown", (event) => {
    const next = rove(bars, current, event.key);
    if (event.key === "Escape") leave();
    if (next === null) return;
    event.preventDefault();
    go(next, true);
  });
  return svg;
}

function phaseTable(run) {
  const all = run.phases.rows.reduce((sum, row) => sum + row.waited, 0) || 1;
  const head = ["Phase", "Waited for", "Under way"].map((name) => el("th", { scope: "col" }, name));
  const lines = run.phases.rows.map((row) => el("tr", {},
    el("th", { scope: "row" }, el("span", { class: `swatch phase-${row.name}` }), row.label),
    el("td", {}, `${seconds(row.waited)} `, el("small", {}, `${Math.round((100 * row.waited) / all)} %`)),
    el("td", {}, row.name === "waiting" ? "–" : seconds(row.under_way))));
  return el("table", { class: "phases" }, el("thead", {}, el("tr", {}, head)), el("tbody", {}, lines));
}

function showPhases() {
  const place = document.getElementById("phases");
  const tops = DATA.runs.map(({ phases }) => phases.from.map((_, i) => phases.rows.reduce((sum, { name }) => sum + phases.waited[name][i], 0)));
  const top = Math.max(...tops.flat(), 0);
  const charts = DATA.runs.map((run, i) => {
    const space = el("div"), known = run.phases.from.length > 0;
    const name = DATA.runs.length > 1 ? [el("span", { class: `swatch run-${i % 6}` }), el("bdi", {}, run.name)] : "What each step waited for";
    const node = el("figure", {}, el("figcaption", {}, el("span", {}, name, el("small", {}, known ? "seconds of a step" : ""))), space);
    const side = el("div", { class: "beside-bars" }, known ? phaseTable(run) : null);
    const redraw = () => space.replaceChildren(known ? phaseBars(run, i, top, Math.max(260, Math.round(space.clientWidth || 520))) : el("p", { class: "empty missing" }, "Nothing to draw: no step has these figures."));
    return { nodes: [node, side], redraw };
  });
  place.append(...charts.flatMap((chart) => chart.nodes));
  onWidth(place, () => charts.forEach((chart) => chart.redraw()));
}
