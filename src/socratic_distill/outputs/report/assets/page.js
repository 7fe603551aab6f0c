// What every part of the page uses. Texts enter the page as text alone: nothing here parses HTML.
const DATA = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
}

const el = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const minus = (text) => text.replace("-", "−");
const nats = (value) => (value === null || value === undefined ? "unknown" : minus(value.toFixed(3)));
const signed = (value) => (value > 0 ? "+" : "") + minus(value.toFixed(2));

function figure(value, share) {
  if (share) return minus((100 * value).toFixed(1)) + " %";
  const size = Math.abs(value);
  if (size >= 1000) return minus(Math.round(value).toLocaleString("en"));
  return minus(String(Number(value.toPrecision(3))));
}

// Announced to screen readers; what is shown to the eye stands in the tip.
const say = (text) => { document.getElementById("live").textContent = text; };

function showTip(lines, box) {
  const tip = document.getElementById("tip");
  tip.replaceChildren(...lines.map((line) => el("p", { dir: "auto" }, line)));
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const room = document.documentElement.clientWidth;
  const left = Math.max(8, Math.min(box.left + box.width / 2 - width / 2, room - width - 8));
  const above = box.top - height - 8;
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above > 4 ? above : box.bottom + 8) + scrollY}px`;
}

const hideTip = () => { document.getElementById("tip").hidden = true; };

// Draws now, and anew at each other width; paper keeps what the screen had.
function onWidth(node, redraw) {
  let width = 0;
  new ResizeObserver(([entry]) => {
    if (Math.round(entry.contentRect.width) === width || matchMedia("print").matches) return;
    width = Math.round(entry.contentRect.width);
    redraw();
  }).observe(node);
}

// From element to element with the arrow keys: the row is one stop of the Tab key.
function rove(items, current, key) {
  const last = items.length - 1;
  const place = { ArrowRight: current + 1, ArrowDown: current + 1, ArrowLeft: current - 1, ArrowUp: current - 1, Home: 0, End: last }[key];
  return place === undefined ? null : Math.max(0, Math.min(place, last));
}

function theme(chosen) {
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.getElementById("theme").textContent = dark ? "Light" : "Dark";
  document.getElementById("theme").setAttribute("aria-label", dark ? "Switch to light colours" : "Switch to dark colours");
}

// Some browsers keep nothing for files: the choice then lasts as long as the page.
function remembered() {
  try { return localStorage.getItem("socratic-distill-theme"); } catch { return null; }
}

function switchTheme() {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  theme(next);
  try { localStorage.setItem("socratic-distill-theme", next); } catch { /* as above */ }
}
