// The strengths of each defense that was run at several: what each costs on clean images, and what it removes.

// One for each defense and each counter that was attacked, with its rows from weak to strong.
const frontiers = Object.values(Object.groupBy(rows.filter(row => typeof row.strength === "number" && row.flip_rate !== null),
  row => JSON.stringify([row.name, row.model, row.attack])))
  .filter(group => group.length > 1)
  .map(group => ({ name: group[0].name, victim: `${group[0].model} ${group[0].attack}`,
    points: group.sort((a, b) => a.strength - b.strength), beside: besides(group[0]) }));

// The same counter without a defense, and with the strength that the defense chose itself.
function besides(row) {
  const same = rows.filter(other => other.model === row.model && other.attack === row.attack);
  return { none: same.filter(other => other.name === "none"),
    chosen: same.filter(other => other.name === row.name && other.strength === "chosen") };
}

function frontierPanel() {
  const names = unique(frontiers.map(one => one.name)).sort(compared);
  const select = make("select", {}, ...names.map(name => make("option", { value: name }, name)));
  const place = make("div");
  const refresh = () => {
    const wanted = state.get("frontiers.name");
    select.value = names.includes(wanted) ? wanted : names[0];
    draw();
  };
  function draw() {
    const found = frontiers.filter(one => one.name === select.value);
    const listed = unique(found.flatMap(one => [...one.beside.none, ...one.points, ...one.beside.chosen]));
    const table = dataTable({ id: "strengths", title: `Strengths of ${select.value}`, caption: "From weak to strong, with no defense before them. Brackets hold 95% intervals.",
      columns: frontierColumns(), rows: listed, searched: { title: "filter strengths", text: row => `${row.defense} ${row.attack}` } });
    place.replaceChildren(make("div", { class: "figures" }, ...found.map(frontierFigure)), ...table.elements);
    table.refresh();
  }
  select.addEventListener("change", () => { keep("frontiers.name", select.value); draw(); });
  const lead = make("p", {}, "A stronger repair removes more of the backdoor and may cost accuracy. A line leads from the weakest to "
    + "the strongest repair; the best place is the lower right.");
  return { refresh, elements: [make("h2", {}, "Strengths of a defense"), lead,
    make("form", { "aria-label": "Defense whose strengths are shown" }, make("label", {}, "defense", select)), place] };
}

function frontierColumns() {
  const ofNumber = (title, key) => ({ title, main: true, value: row => row[key], fill: row => numberCell(row, key) });
  return [{ title: "defense", main: true, name: true, text: true, value: row => row.defense, fill: row => broken(row.defense) },
    ofNumber("RA", "ra"), ofNumber("rho_Acc", "rho_acc"), ofNumber("flip rate", "flip_rate"),
    { title: "strength", wide: true, value: row => row.strength, fill: row => [typeof row.strength === "number"
      ? String(Number(row.strength.toPrecision(4))) : row.strength || "/"] },
    { title: "attack", wide: true, text: true, value: row => row.attack, fill: row => [row.attack] },
    { title: "model", text: true, value: row => row.model, fill: row => [row.model] },
    { title: "seeds", wide: true, value: row => row.records.length, fill: row => [String(row.records.length)] }];
}

// The flip rate over rho_Acc; both axes are shares from 0 to 1.
function frontierFigure({ name, victim, points, beside }) {
  const [side, left, top] = [260, 36, 8], x = row => left + row.rho_acc * side, y = row => top + (1 - row.flip_rate) * side;
  const told = `${name} on ${victim}: flip rate over rho_Acc at ${points.length} strengths; the table below has the numbers`;
  const svg = drawn("svg", { viewBox: `0 0 ${left + side + 10} ${top + side + 34}`, role: "img", "aria-label": told });
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    const [across, down] = [left + tick * side, top + (1 - tick) * side];
    svg.append(drawn("path", { d: `M${left} ${down}h${side}M${across} ${top}v${side}`, stroke: "var(--line)", fill: "none" }),
      drawn("text", { x: left - 5, y: down + 3, "text-anchor": "end" }, String(tick)),
      drawn("text", { x: across, y: top + side + 13, "text-anchor": "middle" }, String(tick)));
  }
  svg.append(drawn("text", { x: left + side / 2, y: top + side + 28, "text-anchor": "middle" }, "rho_Acc"),
    drawn("text", { x: 9, y: top + side / 2, transform: `rotate(-90 9 ${top + side / 2})`, "text-anchor": "middle" }, "flip rate"),
    drawn("path", { d: "M" + points.map(row => `${x(row)} ${y(row)}`).join("L"), stroke: "var(--dim)", fill: "none" }));
  points.forEach((row, place) => svg.append(drawn("circle", { cx: x(row), cy: y(row), fill: "var(--clean)",
    r: 3 + 4 * place / (points.length - 1) })));
  for (const row of beside.chosen)
    svg.append(drawn("path", { d: `M${x(row)} ${y(row) - 7}l6 7l-6 7l-6 -7z`, fill: "var(--triggered)" }));
  for (const row of beside.none)
    svg.append(drawn("path", { d: `M${x(row) - 5} ${y(row) - 5}l10 10m0 -10l-10 10`, stroke: "var(--text)", "stroke-width": 2 }));
  const legend = "dots: the repair, larger where it is stronger; cross: no defense"
    + (beside.chosen.length ? "; diamond: the strength that the defense chose itself" : "");
  return make("figure", {}, svg, make("figcaption", {}, make("strong", {}, victim), ` ${legend}`));
}
