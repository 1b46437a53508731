// The table of all results, in which a row opens to show its records.

const FILTERS = [["name", "defense"], ["attack", "attack"], ["protocol", "protocol"],
  ["model", "model"], ["target", "target"], ["trigger", "trigger"], ["rate", "poison rate"],
  ["alpha", "alpha"], ["knows", "defender knows"]];
const DIGITS = { mae: 2, rmse: 2 };

// Columns of results. more: the other properties of the column, see dataTable.
function textColumn(key, more = {}) {
  return { title: key, text: true, value: row => row[key], fill: row => broken(row[key]), ...more };
}

function numberColumn(title, key, more = {}) {
  return { title, value: row => row[key], fill: row => numberCell(row, key), ...more };
}

function countColumn(title, value, more = {}) {
  return { title, value, fill: row => [String(value(row))], ...more };
}

const seedsColumn = () => countColumn("seeds", row => row.records.length, { wide: true });

function numberCell(row, key) {
  const text = row[key] === null ? "/" : row[key].toFixed(DIGITS[key] || 3);
  const [low, high] = [row[`${key}_low`], row[`${key}_high`]];
  const { link } = row.records[0];
  const isOfOneRecord = row.records.length === 1 && link;
  const number = isOfOneRecord ? make("a", { href: link, tabindex: "-1" }, text) : text;
  if (low == null) return [number];
  return [number, make("span", { class: "range" }, ` [${low.toFixed(3)}, ${high.toFixed(3)}]`)];
}

function cellsTable() {
  const numbers = numberColumns.map(([title, key]) => numberColumn(title, key,
    { main: MAIN.includes(title), wide: WIDE.includes(title) }));
  const { refresh, elements } = dataTable({
    id: "cells",
    title: "All results",
    caption: "Each number is a mean over the seeds of its row; brackets hold 95% intervals.",
    columns: [textColumn("defense", { main: true, name: true }),
      textColumn("attack", { main: true, above: true }), ...numbers,
      textColumn("model", { wide: true }), textColumn("knows"), seedsColumn(),
      countColumn("images", row => row.records[0].images)],
    rows,
    searched: { title: "filter all names",
      text: row => `${row.defense} ${row.attack} ${row.model}` },
    filters: FILTERS,
    opened
  });
  const lead = make("p", {}, "One row is one defense on the counters of one attack, which differ "
    + "only in the seed. Open a row by the name of its defense to see the distribution of the "
    + "counts with each seed, and where its records come from.");
  return { refresh, elements: [make("h2", {}, "All results"), lead, ...elements] };
}

function linked(text) {
  const isWeb = text && /^https?:\/\/[^\s]+$/i.test(text);
  return isWeb ? make("a", { href: text, rel: "noopener noreferrer nofollow" }, text) : text;
}

function opened(row) {
  return make("div", { class: "seeds" }, ...row.records.map(record => make("section", {},
    make("h3", {}, `seed ${record.seed}`), histogram(record), origin(row, record))));
}

// Where a record comes from.
function origin(row, record) {
  const facts = [
    ["entry", row.entry.path], ["name", row.entry.name], ["paper", linked(row.entry.paper)],
    ["code", linked(row.entry.code)], ["tier", row.entry.tier],
    ["record", record.link ? make("a", { href: record.link }, decodeURIComponent(record.link))
      : "none of its own; the counts are in the records of its victims"],
    ["protocol", row.protocol], ["test images", record.images],
    ["poisoned images", record.poisoned], ["seconds of the repair", record.seconds],
    ["SHA-256 of the weights", record.weights], ...Object.entries(record.made),
    ["notes", record.warnings.join("; ")]];
  const list = make("dl");
  for (const [key, value] of facts) {
    if (value === null || value === undefined || value === "") continue;
    list.append(make("dt", {}, key),
      make("dd", {}, value instanceof Node ? value : String(value)));
  }
  return list;
}

function histogram(record) {
  const [width, height, bins] = [360, 130, record.clean.length], step = width / bins;
  const triggered = record.triggered || [];
  const most = Math.max(1, ...record.clean, ...triggered);
  const high = value => value / most * height;
  const meaning = "r = count / true count of " + (record.triggered
    ? "clean (outlined) and triggered (filled) images" : "clean images (outlined)");
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height + 24}`, role: "img",
    "aria-label": meaning });
  svg.append(drawn("rect", { x: 18 * step, y: 0, width: 4 * step, height, fill: "var(--band)" }));
  triggered.forEach((value, bin) => svg.append(drawn("rect", { x: bin * step + 1,
    y: height - high(value), width: step - 2, height: high(value), fill: "var(--triggered)" })));
  const outline = record.clean.map((value, bin) => `V${height - high(value)}H${(bin + 1) * step}`);
  svg.append(drawn("path", { d: `M0 ${height}${outline.join("")}V${height}`, fill: "none",
    stroke: "var(--clean)", "stroke-width": 2 }));
  for (const [place, text] of [[0, "0"], [10, "0.5"], [20, "1"], [30, "1.5"], [40, "2"]])
    svg.append(drawn("text", { x: place * step + 2, y: height + 11 }, text));
  svg.append(drawn("text", { x: 0, y: height + 22 }, meaning));
  return svg;
}
