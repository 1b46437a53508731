// The table of all results, in which a row opens to show its records.

const FILTERS = [["name", "defense"], ["attack", "attack"], ["protocol", "protocol"], ["model", "model"], ["target", "target"],
  ["trigger", "trigger"], ["rate", "poison rate"], ["alpha", "alpha"], ["knows", "defender knows"]];
const DIGITS = { mae: 2, rmse: 2 };

function cellsTable() {
  const ofText = (title, key, more) => ({ title, text: true, value: row => row[key], fill: row => broken(row[key]), ...more });
  const ofNumber = ([title, key]) => ({ title, main: MAIN.includes(title), wide: WIDE.includes(title),
    value: row => row[key], fill: row => numberCell(row, key) });
  const counted = (title, value) => ({ title, wide: title === "seeds", value, fill: row => [String(value(row))] });
  const columns = [ofText("defense", "defense", { main: true, name: true }), ofText("attack", "attack", { main: true, above: true }),
    ...numberColumns.map(ofNumber), ofText("model", "model", { wide: true }), ofText("knows", "knows"),
    counted("seeds", row => row.records.length), counted("images", row => row.records[0].images)];
  const { refresh, elements } = dataTable({
    id: "cells", title: "All results", caption: "Each number is a mean over the seeds of its row; brackets hold 95% intervals.", columns, rows,
    searched: { title: "filter all names", text: row => `${row.defense} ${row.attack} ${row.model}` },
    filters: FILTERS, opened });
  const lead = make("p", {}, "One row is one defense on the counters of one attack, which differ only in the seed. Open a row by the "
    + "name of its defense to see the distribution of the counts with each seed, and where its records come from.");
  return { refresh, elements: [make("h2", {}, "All results"), lead, ...elements] };
}

function numberCell(row, key) {
  const text = row[key] === null ? "/" : row[key].toFixed(DIGITS[key] || 3), { link } = row.records[0];
  const low = row[`${key}_low`], high = row[`${key}_high`];
  const number = row.records.length === 1 && link ? make("a", { href: link, tabindex: "-1" }, text) : text;
  return low == null ? [number] : [number, make("span", { class: "range" }, ` [${low.toFixed(3)}, ${high.toFixed(3)}]`)];
}

const linked = text => text && /^https?:\/\/[^\s]+$/i.test(text)
  ? make("a", { href: text, rel: "noopener noreferrer nofollow" }, text) : text;

function opened(row) {
  const seeds = row.records.map(record => {
    const told = [["entry", row.entry.path], ["name", row.entry.name], ["paper", linked(row.entry.paper)],
      ["code", linked(row.entry.code)], ["tier", row.entry.tier],
      ["record", record.link ? make("a", { href: record.link }, decodeURIComponent(record.link))
        : "none of its own; the counts are in the records of its victims"],
      ["protocol", row.protocol], ["test images", record.images], ["poisoned images", record.poisoned],
      ["seconds of the repair", record.seconds], ["SHA-256 of the weights", record.weights],
      ...Object.entries(record.made), ["notes", record.warnings.join("; ")]];
    const list = make("dl");
    for (const [key, value] of told)
      if (value !== null && value !== undefined && value !== "")
        list.append(make("dt", {}, key), make("dd", {}, value instanceof Node ? value : String(value)));
    return make("section", {}, make("h3", {}, `seed ${record.seed}`), histogram(record), list);
  });
  return make("div", { class: "seeds" }, ...seeds);
}

function histogram(record) {
  const [width, height, bins] = [360, 130, record.clean.length], step = width / bins;
  const most = Math.max(1, ...record.clean, ...(record.triggered || []));
  const told = "r = count / true count of "
    + (record.triggered ? "clean (outlined) and triggered (filled) images" : "clean images (outlined)");
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height + 24}`, role: "img", "aria-label": told });
  svg.append(drawn("rect", { x: 18 * step, y: 0, width: 4 * step, height, fill: "var(--band)" }));
  (record.triggered || []).forEach((value, bin) => svg.append(drawn("rect", { x: bin * step + 1, y: height - value / most * height,
    width: step - 2, height: value / most * height, fill: "var(--triggered)" })));
  let path = `M0 ${height}`;
  record.clean.forEach((value, bin) => { path += `V${height - value / most * height}H${(bin + 1) * step}`; });
  svg.append(drawn("path", { d: path + `V${height}`, fill: "none", stroke: "var(--clean)", "stroke-width": 2 }));
  for (const [place, text] of [[0, "0"], [10, "0.5"], [20, "1"], [30, "1.5"], [40, "2"]])
    svg.append(drawn("text", { x: place * step + 2, y: height + 11 }, text));
  svg.append(drawn("text", { x: 0, y: height + 22 }, told));
  return svg;
}
