// The boards of the frozen grids and of an audit, whose cells are text such as
// '0.500 [0.400, 0.600]', '<.001' or '/'.

const MAIN = ["damage left", "RA", "rho_Acc - clean counter", "rho_Acc", "flip rate", "opposite",
  "shift"]; // the first three that a board has are its main numbers
const WIDE = ["knows", "chance flips", "DER", "cells", "attainment", "best defense", "found by",
  "tier", "its RA", "reading"];
const NUMBER = /^[-+<]?\d*\.?\d+/;

const base = text => text.split(" (")[0]; // a name without the settings that tell it apart

// The number at the beginning of a text, otherwise the text; null where there is nothing.
function sortable(text) {
  if (text === "/" || text === "") return null;
  const match = text.match(NUMBER);
  return match ? Number(match[0].replace("<", "")) : text;
}

// A number and, below it, its interval.
function withRange(text) {
  const match = text.match(/^(\S+)( \[.*\])$/);
  return match ? [match[1], make("span", { class: "range" }, match[2])] : [text];
}

function rankingTable(table) {
  const name = table.columns.includes("defense") ? "defense" : "attack";
  const main = MAIN.filter(title => table.columns.includes(title)).slice(0, 3);
  const first = ["rank", "model", name].filter(title => table.columns.includes(title));
  const ordered = unique([...first, ...main, ...table.columns]);
  const { refresh, elements } = dataTable({
    id: table.id,
    title: table.title,
    caption: captionOf(table),
    columns: ordered.map(title => rankingColumn(table, title, { name, main, first })),
    rows: table.rows,
    searched: { title: `filter ${name}s`,
      text: row => first.map(title => row[table.columns.indexOf(title)]).join(" ") }
  });
  const notes = make("details", {}, make("summary", {}, "How these numbers were computed"),
    make("ul", {}, ...table.notes.map(note => make("li", {}, note))));
  const lead = table.lead.map(text => make("p", {}, text));
  return { refresh, elements: [make("h2", {}, table.title), ...lead, ...elements, notes] };
}

// name: the heading of the names. main: those of the main numbers. first: those that say what a
// row is of.
function rankingColumn(table, title, { name, main, first }) {
  const place = table.columns.indexOf(title), isName = title === name;
  const texts = table.rows.map(row => row[place]).filter(text => text !== "/");
  return {
    title,
    name: isName,
    main: [...first, ...main].includes(title),
    above: !isName && title === first[0],
    wide: WIDE.includes(title),
    text: first.includes(title) || !texts.every(text => NUMBER.test(text)),
    value: row => isName ? row[place] : sortable(row[place]),
    fill: row => isName ? linkedName(row, place, table) : withRange(row[place])
  };
}

function captionOf(table) {
  const place = table.columns.indexOf("cells"), intervals = "Brackets hold 95% intervals.";
  if (place < 0) return intervals;
  const [, wanted] = table.rows[0][place].split("/");
  return `Complete rows have all ${wanted} cells of the grid. ${intervals}`;
}

// The state in which the table of all results shows those of a row of a board; null if there are
// none. kind: 'defense' or 'attack'. model: that of the row, or null.
function cellsOf(text, kind, table, model) {
  const candidates = rows.filter(row => !model || row.model === model);
  const exact = candidates.filter(row => row[kind] === text);
  // What tells apart the rows of a board may be other settings than those of all results.
  const found = exact.length ? exact
    : candidates.filter(row => base(row[kind]) === base(text));
  if (!found.length) return null;
  const place = { tab: "cells", ...model ? { "cells.model": model } : {} };
  if (kind === "attack")
    return { ...place, ...exact.length ? { "cells.attack": text } : { "cells.find": base(text) } };
  const [{ name }] = found;
  const variants = unique(rows.filter(row => row.name === name).map(row => row.defense));
  return { ...place, "cells.protocol": table.grid, "cells.name": name,
    ...exact.length && variants.length > 1 ? { "cells.find": text } : {} };
}

// A name leads to its cells and, if several strengths of a defense were run, also to them.
function linkedName(row, place, table) {
  const [text, kind] = [row[place], table.columns[place]], name = base(text);
  const model = table.columns.indexOf("model");
  const cells = cellsOf(text, kind, table, model < 0 ? null : base(row[model]));
  if (!cells) return broken(text);
  const link = make("a", { href: address(cells) }, ...broken(text));
  if (kind !== "defense" || !frontiers.some(one => one.name === name)) return [link];
  const strengths = address({ tab: "frontiers", "frontiers.name": name });
  return [link, " ", make("a", { class: "more", href: strengths,
    "aria-label": `strengths of ${name}` }, "strengths")];
}
