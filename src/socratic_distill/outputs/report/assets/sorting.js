// Sorts a table by the column whose header is pressed: the best first, and the other way round when pressed again.
theme(remembered());
document.getElementById("theme").addEventListener("click", switchTheme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(remembered()));

function sortBy(head) {
  const before = head.getAttribute("aria-sort");
  const order = before === null ? head.dataset.first : before === "ascending" ? "descending" : "ascending";
  const sign = order === "ascending" ? 1 : -1;
  const isText = head.dataset.kind === "text";
  const valueOf = (row) => {
    const cell = row.cells[head.cellIndex];
    return isText ? cell.textContent : cell.dataset.value === undefined ? null : Number(cell.dataset.value);
  };
  const compare = (a, b) => (isText ? a.localeCompare(b, "en", { numeric: true }) : a - b);
  const body = head.closest("table").tBodies[0];
  const rows = [...body.rows].map((row) => [valueOf(row), row]);
  const known = rows.filter(([value]) => value !== null).sort(([a], [b]) => sign * compare(a, b));
  // Rows without a value stay last in either order.
  body.append(...[...known, ...rows.filter(([value]) => value === null)].map(([, row]) => row));
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  say(`Sorted by ${head.querySelector("button").textContent}, ${order}`);
}

for (const button of document.querySelectorAll(".sortable thead button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}
