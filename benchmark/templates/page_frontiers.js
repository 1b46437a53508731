// The strengths of each defense that was run at several: what each costs on clean images, and what
// it removes.

const frontiers = findFrontiers();

// One for each defense and each counter that was attacked, with its rows from weak to strong, and
// the rows of the same counter without a defense and with the strength that the defense chose.
function findFrontiers() {
  const groups = new Map();
  for (const row of rows) {
    if (typeof row.strength !== "number" || row.flip_rate === null) continue;
    const key = JSON.stringify([row.name, row.model, row.attack]);
    groups.set(key, [...groups.get(key) || [], row]);
  }
  return [...groups.values()].filter(group => group.length > 1).map(group => {
    const [{ name, model, attack }] = group;
    const same = rows.filter(row => row.model === model && row.attack === attack);
    return { name, victim: `${model} ${attack}`,
      points: group.sort((a, b) => a.strength - b.strength),
      undefended: same.filter(row => row.name === "none"),
      chosen: same.filter(row => row.name === name && row.strength === "chosen") };
  });
}

function frontierPanel() {
  const names = unique(frontiers.map(one => one.name)).sort(compared);
  const select = make("select", {}, ...names.map(name => make("option", { value: name }, name)));
  const place = make("div");

  function draw() {
    const found = frontiers.filter(one => one.name === select.value);
    const table = frontierTable(select.value, found);
    const figures = make("div", { class: "figures" }, ...found.map(frontierFigure));
    place.replaceChildren(figures, ...table.elements);
    table.refresh();
  }

  function refresh() {
    const wanted = state.get("frontiers.name");
    select.value = names.includes(wanted) ? wanted : names[0];
    draw();
  }

  select.addEventListener("change", () => {
    keep("frontiers.name", select.value);
    draw();
  });
  const lead = make("p", {}, "A stronger repair removes more of the backdoor and may cost "
    + "accuracy. A line leads from the weakest to the strongest repair; the best place is the "
    + "lower right.");
  const form = make("form", { "aria-label": "Defense whose strengths are shown" },
    make("label", {}, "defense", select));
  return { refresh, elements: [make("h2", {}, "Strengths of a defense"), lead, form, place] };
}

function frontierTable(name, found) {
  const strength = row => typeof row.strength === "number"
    ? String(Number(row.strength.toPrecision(4))) : row.strength || "/";
  return dataTable({
    id: "strengths",
    title: `Strengths of ${name}`,
    caption: "From weak to strong, with no defense before them. Brackets hold 95% intervals.",
    columns: [textColumn("defense", { main: true, name: true }),
      ...[["RA", "ra"], ["rho_Acc", "rho_acc"], ["flip rate", "flip_rate"]]
        .map(([title, key]) => numberColumn(title, key, { main: true })),
      { title: "strength", wide: true, value: row => row.strength, fill: row => [strength(row)] },
      textColumn("attack", { wide: true }), textColumn("model"), seedsColumn()],
    rows: unique(found.flatMap(one => [...one.undefended, ...one.points, ...one.chosen])),
    searched: { title: "filter strengths", text: row => `${row.defense} ${row.attack}` }
  });
}

// The flip rate over rho_Acc; both axes are shares from 0 to 1.
function frontierFigure({ name, victim, points, undefended, chosen }) {
  const [side, left, top] = [260, 36, 8], middle = top + side / 2;
  const x = row => left + row.rho_acc * side, y = row => top + (1 - row.flip_rate) * side;
  const meaning = `${name} on ${victim}: flip rate over rho_Acc at ${points.length} strengths; `
    + "the table below has the numbers";
  const svg = drawn("svg", { viewBox: `0 0 ${left + side + 10} ${top + side + 34}`, role: "img",
    "aria-label": meaning });
  const write = (x, y, text, more) => svg.append(drawn("text", { x, y, ...more }, text));
  const trace = (d, attributes) => svg.append(drawn("path", { d, fill: "none", ...attributes }));

  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    const [across, down] = [left + tick * side, top + (1 - tick) * side];
    trace(`M${left} ${down}h${side}M${across} ${top}v${side}`, { stroke: "var(--line)" });
    write(left - 5, down + 3, String(tick), { "text-anchor": "end" });
    write(across, top + side + 13, String(tick), { "text-anchor": "middle" });
  }
  write(left + side / 2, top + side + 28, "rho_Acc", { "text-anchor": "middle" });
  write(9, middle, "flip rate", { transform: `rotate(-90 9 ${middle})`, "text-anchor": "middle" });

  trace(`M${points.map(row => `${x(row)} ${y(row)}`).join("L")}`, { stroke: "var(--dim)" });
  points.forEach((row, place) => svg.append(drawn("circle", { cx: x(row), cy: y(row),
    r: 3 + 4 * place / (points.length - 1), fill: "var(--clean)" })));
  for (const row of chosen)
    trace(`M${x(row)} ${y(row) - 7}l6 7l-6 7l-6 -7z`, { fill: "var(--triggered)" });
  for (const row of undefended)
    trace(`M${x(row) - 5} ${y(row) - 5}l10 10m0 -10l-10 10`, { stroke: "var(--text)",
      "stroke-width": 2 });
  const legend = "dots: the repair, larger where it is stronger; cross: no defense"
    + (chosen.length ? "; diamond: the strength that the defense chose itself" : "");
  return make("figure", {}, svg,
    make("figcaption", {}, make("strong", {}, victim), ` ${legend}`));
}
