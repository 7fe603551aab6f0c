// Dialogues to read: filters, a list, and the one that is open.
const runName = (talk) => DATA.runs[talk.r].name;
const when = (talk) => (talk.b === undefined ? `step ${talk.s}` : `evaluation, batch ${talk.b}`);
// Without the token that ends a turn.
const textOf = (turn) => turn.x ?? turn.p.slice(0, turn.stop ? undefined : -1).join("");
const stepOf = (talk) => talk.b ?? talk.s;

function choices(name, label, options) {
  return el("fieldset", {}, el("legend", {}, label), el("div", { class: "choices" }, options.map(([value, text], i) =>
    el("label", {}, el("input", { type: "radio", name, value, checked: i === 0 }), el("span", {}, text)))));
}

function menu(name, label, options) {
  return el("label", {}, label, el("select", { name }, options.map(([value, text]) => el("option", { value }, text))));
}

function filterFields() {
  const kinds = (of) => [...new Set(DATA.talks.map(of))];
  const endings = kinds((talk) => talk.end).filter(Boolean).sort();
  const yesNo = [["", "all"], ["1", "yes"], ["0", "no"]];
  return [
    choices("solved", "Solved", yesNo),
    choices("told", "Told", yesNo),
    el("label", {}, "From step", el("input", { type: "number", name: "from", min: 0, inputmode: "numeric" })),
    el("label", {}, "To step", el("input", { type: "number", name: "to", min: 0, inputmode: "numeric" })),
    menu("source", "Dialogues of", [["", "all"], ["t", "training"], ["e", "evaluations"]]),
    menu("ending", "Ending", [["", "any"], ...endings.map((one) => [one, one])]),
    DATA.runs.length > 1 ? menu("run", "Run", [["", "all"], ...DATA.runs.map((run, i) => [i, run.name])]) : null,
    el("label", { class: "whole" }, "Search seeds and texts", el("input", { type: "search", name: "search", autocomplete: "off" })),
    el("button", { type: "reset", class: "whole" }, "Show all"),
  ];
}

function chosen(form) {
  const field = Object.fromEntries(new FormData(form));
  const words = field.search.toLowerCase().trim();
  const flag = (value) => (value === "" ? null : Number(value));
  const [solved, told, from, to, run] = [field.solved, field.told, field.from, field.to, field.run ?? ""].map(flag);
  return DATA.talks.filter((talk) =>
    (solved === null || talk.ok === solved) && (told === null || talk.told === told) &&
    (from === null || stepOf(talk) >= from) && (to === null || stepOf(talk) <= to) && (run === null || talk.r === run) &&
    (field.source === "" || (field.source === "e") === (talk.b !== undefined)) &&
    (field.ending === "" || talk.end === field.ending) &&
    (words === "" || [talk.d, talk.q ?? "", ...talk.t.map(textOf)].some((text) => text.toLowerCase().includes(words))));
}

function listItem(talk, open) {
  const first = talk.t.find((turn) => turn.w);
  const outcome = `${talk.ok ? "solved" : "not solved"}, ${talk.told ? "told" : "not told"}`;
  return el("button", { type: "button", tabindex: -1, onclick: () => open(talk, true) },
    el("span", { class: "line" }, el("span", { class: "seed" }, DATA.runs.length > 1 ? el("span", { class: `swatch run-${talk.r % 6}` }) : null, el("bdi", {}, talk.d)), el("span", { class: "when" }, when(talk))),
    el("small", {}, outcome), first ? el("small", { dir: "auto" }, textOf(first)) : null);
}

function showDialogues() {
  const form = document.getElementById("filters"), list = document.getElementById("list"), reader = document.getElementById("reader");
  let items = [], current = 0, opened = null;
  const mark = () => items.forEach(({ talk, node }, i) => {
    node.tabIndex = i === current ? 0 : -1;
    node.setAttribute("aria-current", String(talk === opened));
  });
  const open = (talk, go) => {
    opened = talk;
    current = Math.max(0, items.findIndex((item) => item.talk === talk));
    const title = el("h3", {}, el("bdi", {}, talk.d), ` · ${when(talk)}`, DATA.runs.length > 1 ? [" · ", el("bdi", {}, runName(talk))] : null);
    reader.replaceChildren(title, ...talkNodes(talk));
    mark();
    if (!go) return;
    reader.focus({ preventScroll: true });
    const top = reader.getBoundingClientRect().top;
    if (top < 0 || top > innerHeight * 0.6) reader.scrollIntoView({ block: "start" });
  };
  const filter = () => {
    const talks = chosen(form);
    items = talks.map((talk) => ({ talk, node: listItem(talk, open) }));
    list.replaceChildren(...items.map((item) => el("li", {}, item.node)));
    current = Math.max(0, talks.indexOf(opened));
    document.getElementById("found").textContent = `${talks.length} of ${DATA.talks.length} shown`;
    mark();
  };
  const select = (place) => {
    if (!items.length) return;
    current = Math.max(0, Math.min(place, items.length - 1));
    mark();
    items[current].node.focus();
  };
  form.append(...filterFields().filter(Boolean));
  form.addEventListener("input", filter);
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  list.addEventListener("keydown", (event) => {
    const place = rove(items, current, event.key);
    if (place === null) return;
    event.preventDefault();
    select(place);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input:not([type=radio]), select, textarea");
    if (event.key === "Escape" && (reader.contains(event.target) || typing)) select(current);
    if (typing) return;
    if (event.key === "j" || event.key === "k") select(list.contains(document.activeElement) ? current + (event.key === "j" ? 1 : -1) : current);
    if (event.key === "/") { event.preventDefault(); form.elements.search.focus(); }
  });
  filter();
  if (items.length) open(items[0].talk, false);
  else reader.append(el("p", { class: "empty" }, "There are no dialogues to read yet."));
}
