// One problem before and after training, in short, at the top of the page; the section below has it with its figures.
const LEAD_TURNS = 4;

// The last turn stays, since it is the one that says how the dialogue ended.
function leadTurns(talk) {
  const said = (turn) => el("p", { class: turn.w ? "says tutor" : "says" },
    el("b", {}, turn.w ? "Tutor" : "Student"), el("span", { dir: "auto" }, turn.w ? replyOf(turn) : turn.x));
  const left = talk.t.length - LEAD_TURNS;
  if (left <= 0) return [...talk.t.map(said), ...(talk.cut ? [more(talk.cut)] : [])];
  return [...talk.t.slice(0, LEAD_TURNS - 1).map(said), more(left), ...talk.t.slice(-1).map(said), ...(talk.cut ? [more(talk.cut)] : [])];
}

const more = (count) => el("p", { class: "note" }, `${count} more ${count === 1 ? "turn" : "turns"}.`);

const replyOf = (turn) => (turn.x === undefined && !turn.p ? "" : textOf(turn));

function leadColumn(talk, title) {
  const outcome = el("span", { class: "badges" },
    el("span", { class: talk.told ? "bad" : "good" }, talk.told ? "told" : "not told"),
    el("span", { class: talk.ok && !talk.told ? "good" : "" }, talk.ok ? "solved" : "not solved"));
  return el("div", { class: "column card" }, el("h3", {}, el("span", {}, title, " ", el("small", {}, when(talk))), outcome), leadTurns(talk));
}

function showLead() {
  if (!DATA.pairs.length) return;
  const [before, after] = DATA.pairs[0].map((id) => DATA.talks.find((talk) => talk.i === id));
  const run = DATA.runs.length > 1 ? [el("bdi", {}, runName(before)), ", "] : null;
  document.getElementById("lead").append(
    el("p", { class: "asked", dir: "auto" }, el("b", {}, run, run ? "one problem, before and after" : "One problem, before and after"), before.q ?? before.d),
    el("div", { class: "columns" }, leadColumn(before, "Before"), leadColumn(after, "After")),
    el("p", { class: "note" }, el("a", { href: "#pairs" }, `${DATA.pairs.length > 1 ? `All ${DATA.pairs.length} pairs` : "The same"}, with what the teacher thinks of each token`)));
}
