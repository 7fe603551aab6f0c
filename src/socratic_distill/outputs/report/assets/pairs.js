// The same seed before and after training, next to each other.
function showPairs() {
  const talks = new Map(DATA.talks.map((talk) => [talk.i, talk]));
  const pairs = DATA.pairs.map((pair) => pair.map((id) => talks.get(id)));
  if (!pairs.length) return;
  const columns = el("div", { class: "columns" });
  const outcome = (talk) => `${talk.ok ? "solved" : "not solved"}, ${talk.told ? "told" : "not told"}`;
  const column = (talk, name) => el("div", { class: "column" }, el("h3", {}, `${name}: ${when(talk)}`), talkNodes(talk));
  const show = (place) => {
    select.selectedIndex = place;
    [before.disabled, after.disabled] = [place === 0, place === pairs.length - 1];
    columns.replaceChildren(column(pairs[place][0], "Before"), column(pairs[place][1], "After"));
  };
  const select = el("select", { "aria-label": "Seed", onchange: () => show(select.selectedIndex) }, pairs.map(([first, last]) =>
    el("option", {}, `${DATA.runs.length > 1 ? `${runName(first)}: ` : ""}${first.d} (${outcome(first)} → ${outcome(last)})`)));
  const before = el("button", { type: "button", onclick: () => show(select.selectedIndex - 1) }, "Previous seed");
  const after = el("button", { type: "button", onclick: () => show(select.selectedIndex + 1) }, "Next seed");
  document.getElementById("pair").append(el("div", { class: "chooser" }, before, select, after), columns);
  show(0);
}
