// Puts the page together. Printing opens what is folded, and folds it again.
theme(remembered());
document.getElementById("theme").addEventListener("click", switchTheme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(remembered()));
for (const node of document.querySelectorAll(".scale .tok")) colour(node, Number(node.dataset.gap));
showLead();
showCharts();
showPhases();
showDialogues();
showPairs();
const folded = () => document.querySelectorAll("details:not([open], .keys)");
let unfolded = [];
addEventListener("beforeprint", () => { unfolded = [...folded()]; unfolded.forEach((node) => { node.open = true; }); });
addEventListener("afterprint", () => unfolded.forEach((node) => { node.open = false; }));
