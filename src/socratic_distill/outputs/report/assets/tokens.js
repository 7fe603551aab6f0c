// A turn to read: each tutor token coloured by what the teacher thinks of it.
const STRONG = 1;

function gapOf(turn, i) {
  const tutor = turn.u[i], teacher = turn.c[i];
  return tutor === null || tutor === undefined || teacher === null || teacher === undefined ? null : (teacher - tutor) / 1000;
}

function colour(node, gap) {
  if (gap === null || gap === 0) return;
  node.classList.add(gap < 0 ? "less" : "more");
  if (Math.abs(gap) >= STRONG) node.classList.add("strong");
  node.style.setProperty("--alpha", `calc(${Math.min(1, Math.sqrt(Math.abs(gap) / 3)).toFixed(2)} * var(--strength))`);
}

// White space and empty pieces, made visible in figures.
const visible = (piece) => (piece === "" ? "(part of a character)" : `“${piece.replace(/ /g, "␣").replace(/\n/g, "⏎").replace(/\t/g, "⇥")}”`);

// What a token counts in training; nothing in a run without token weights.
function weightsOf(turn, i) {
  const named = [["weight", turn.h], ["weight in forward divergences", turn.f]];
  return named.filter(([, list]) => list && list[i] !== null).map(([name, list]) => `${name} ${figure(list[i] / 1000, false)}`);
}

const isLeftOut = (turn, i) => Boolean(turn.h) && turn.h[i] === 0 && (!turn.f || turn.f[i] === 0);

function figuresOf(turn, i) {
  const percent = (value) => (value === null ? "" : ` (${figure(Math.exp(value), true)})`);
  const value = (list) => (list[i] === null || list[i] === undefined ? null : list[i] / 1000);
  const tutor = value(turn.u), teacher = value(turn.c), gap = gapOf(turn, i);
  const total = (turn.p || turn.k).length;
  return [
    turn.p ? visible(turn.p[i]) : `token id ${turn.k[i]}`,
    `token ${i + 1} of ${total}`,
    `tutor ${nats(tutor)} nats${percent(tutor)}`,
    `teacher ${nats(teacher)} nats${percent(teacher)}`,
    gap === null ? "no difference known" : `teacher − tutor ${signed(gap)} nats`,
    ...weightsOf(turn, i),
  ];
}

function tokensOf(turn, label) {
  const names = turn.p || turn.k.map((_, i) => String(i + 1));
  const nodes = names.map((name, i) => {
    const ends = turn.p && !turn.stop && i === names.length - 1;
    const node = el("span", { class: ends ? "tok end" : "tok", tabindex: i ? -1 : 0 }, name === "" ? "▯" : name);
    colour(node, gapOf(turn, i));
    if (isLeftOut(turn, i)) node.classList.add("out");
    return node;
  });
  const body = el("div", { class: turn.p ? "said" : "said blocks", dir: "auto", role: "group", "aria-label": label }, nodes);
  const placeOf = (event) => nodes.indexOf(event.target);
  const tell = (i, aloud) => {
    if (i < 0) return;
    const lines = figuresOf(turn, i);
    showTip(lines, nodes[i].getClientRects()[0] || nodes[i].getBoundingClientRect());
    if (aloud) say(lines.join(", "));
  };
  const go = (i) => {
    nodes.forEach((node, place) => { node.tabIndex = place === i ? 0 : -1; });
    nodes[i].focus();
  };
  body.addEventListener("pointerover", (event) => tell(placeOf(event), false));
  body.addEventListener("pointerleave", hideTip);
  body.addEventListener("focusin", (event) => tell(placeOf(event), true));
  body.addEventListener("focusout", hideTip);
  body.addEventListener("click", (event) => { if (placeOf(event) >= 0) go(placeOf(event)); });
  body.addEventListener("keydown", (event) => {
    const here = placeOf(event);
    const next = event.key === "d" ? nodes.findIndex((_, i) => i > here && Math.abs(gapOf(turn, i) ?? 0) >= STRONG) : rove(nodes, here, event.key);
    if (next === null || next < 0 || event.key === "ArrowUp" || event.key === "ArrowDown") return;
    event.preventDefault();
    go(next);
  });
  return body;
}

// Mean and lowest difference of a turn, so that one sees at once where to look.
function turnSummary(turn) {
  const gaps = turn.u.map((_, i) => gapOf(turn, i)).filter((gap) => gap !== null);
  if (!gaps.length) return turn.no ? "figures left out: the dialogue is long" : "not scored";
  const lowest = Math.min(...gaps), at = turn.u.findIndex((_, i) => gapOf(turn, i) === lowest);
  const where = turn.p && turn.p[at] !== undefined ? ` at ${visible(turn.p[at])}` : ` at token ${at + 1}`;
  return `mean ${signed(gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length)}, lowest ${signed(lowest)}${where}`;
}

function turnNode(turn, number) {
  const cut = turn.stop ? " · cut at the token limit" : "";
  if (!turn.w) return el("div", { class: "turn" }, el("p", { class: "who" }, el("span", {}, el("b", {}, "Student"), cut)), el("p", { class: "said", dir: "auto" }, turn.x));
  const version = turn.v === undefined || turn.v === null ? "" : ` · version ${turn.v}`;
  const head = el("p", { class: "who" }, el("span", {}, el("b", {}, "Tutor"), version, cut), el("span", { dir: "auto" }, turn.no ? turnSummary({ ...turn, u: [] }) : turnSummary(turn)));
  const label = `Tokens of the tutor's turn ${number}; the arrow keys go from one to the next`;
  const parts = turn.no || (turn.p || turn.k).length === 0
    ? [el("p", { class: "said", dir: "auto" }, turn.x ?? "")]
    : turn.p ? [tokensOf(turn, label)] : [el("p", { class: "said", dir: "auto" }, turn.x ?? ""), tokensOf(turn, label)];
  return el("div", { class: "turn tutor" }, head, parts);
}

function talkNodes(talk) {
  let tutor = 0;
  const problem = [["Problem", talk.q], ["Answer", talk.a], ["Mistake", talk.e]].filter(([, text]) => text !== undefined && text !== null);
  const badges = [
    el("span", { class: talk.ok ? "good" : "" }, talk.ok ? "solved" : "not solved"),
    el("span", { class: talk.told ? "bad" : "" }, talk.told ? "told" : "not told"),
    talk.end && !["solved", "max_turns"].includes(talk.end) ? el("span", {}, talk.end) : null,
    talk.w === undefined ? null : el("span", {}, `reward ${figure(talk.w, false)}`),
    talk.rec === undefined ? null : el("span", {}, "recorded"),
  ];
  return [
    el("p", { class: "badges" }, badges),
    el("div", { class: "problem" }, problem.map(([name, text]) => el("p", { dir: "auto" }, el("b", {}, name), text))),
    talk.err ? el("p", { class: "warning", dir: "auto" }, talk.err) : null,
    ...talk.t.map((turn) => turnNode(turn, turn.w ? ++tutor : 0)),
    talk.cut ? el("p", { class: "empty" }, `${talk.cut} more turns are in dialogues.jsonl: the dialogue is too long for this page.`) : null,
  ].filter(Boolean);
}
